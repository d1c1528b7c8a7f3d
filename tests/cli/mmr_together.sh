#!/bin/sh
# apriel-tool mmr --together: probes in lock step give the bits that each gives alone.
. "$(dirname "$0")/common.sh"

# everything DATABASE: all values of run 1
everything() {
    for what in csv sequences steps; do "$program" scores --db "$1" --run 1 --export $what; done
}
head -n 8 "$golden/ids.jsonl" | "$tests/make_tokens" rows.h5 2048

# In groups that cut the seeds of a layer apart, stopped inside each: the same bits. Also in rounds.
lock_step() {
    "$program" mmr "$demo" --data rows.h5 --device cpu --layers 9,11 --seeds 2 --steps 12 --batch 2 \
        --heldout 3 --quiet "$@"
}
lock_step --db apart.db >out
[ "$(everything apart.db | tee apart.csv | wc -l)" -gt 120 ] || complain "only $(wc -l <apart.csv) values"
for limit in 10 25; do
    code=0
    lock_step --db together.db --together 3 --limit-steps $limit >out 2>errors || code=$?
    [ $code -eq 130 ] || complain "--together 3 --limit-steps $limit: exit code $code"
done
# Three probes took 4 steps and then 8, which finished layer 9; the last one took one.
"$program" scores --db together.db --run 1 --export steps | cut -d, -f2-4 | tail -n 2 | tr '\n' ' ' >found
[ "$(cat found)" = "11,0,11 11,1,0 " ] || complain "--together 3: stopped at $(cat found)"
lock_step --db together.db --together 4 --json >together.json
grep -q '"together": 4,' together.json || complain "--together 4 is not said"
grep -q '"steps": 11,' together.json || complain "--together 4 computed more than was left"
everything together.db | cmp apart.csv - || complain "--together: another result"
lock_step --db stable.db --stop-when-stable 10 --group 1 >out
lock_step --db rounds.db --stop-when-stable 10 --group 1 --together 3 >out
everything stable.db >stable.csv
everything rounds.db | cmp stable.csv - || complain "--together in rounds: another result"

# Probes that diverge end, with the same warnings in the same order; what there is of them is kept.
for k in 1 2; do
    lock_step --db diverged$k.db --lr 1e30 --together $k >diverged$k 2>errors$k || complain "diverging probes: exit code $?"
    everything diverged$k.db >diverged$k.csv
done
[ "$(grep -c 'the loss is not finite at step 1; the probe ends$' errors1)" = 4 ] ||
    complain "diverging probes: $(cat errors1)"
cmp errors1 errors2 || complain "two diverging probes: other warnings"
cmp diverged1.csv diverged2.csv || complain "two diverging probes: another result"
exit $bad
