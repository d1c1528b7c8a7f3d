#!/bin/sh
# apriel-tool mmr: what it prints, a stopped run that goes on bit for bit, probes that diverge, and
# one line for everything that cannot be done.
. "$(dirname "$0")/common.sh"
always="mmr --device cpu --quiet"

# everything DATABASE: all values of run 1
everything() {
    for what in csv sequences steps; do "$program" scores --db "$1" --run 1 --export $what; done
}

head -n 8 "$golden/ids.jsonl" | "$tests/make_tokens" rows.h5 2048

# Stopped after step 37 of layer 4, then after the last step of layer 5: the same bits.
"$program" mmr "$demo" --data rows.h5 --db whole.db --device cpu --layers 4-6 --steps 40 --batch 2 \
    --heldout 3 --quiet >whole
for limit in 37 43; do
    code=0
    "$program" mmr "$demo" --data rows.h5 --db parts.db --device cpu --layers 4-6 --steps 40 --batch 2 \
        --heldout 3 --quiet --limit-steps $limit >out 2>errors || code=$?
    [ $code -eq 130 ] || complain "--limit-steps $limit: exit code $code"
    [ "$(cat errors)" = 'apriel-tool: interrupted; finished layers and steps are saved in "parts.db": run the same command to continue' ] ||
        complain "--limit-steps $limit: $(cat errors)"
done
[ "$("$program" scores --db parts.db --run 1 --export steps | tail -n 1 | cut -d, -f2,4)" = 5,39 ] ||
    complain "not stopped after the last step of layer 5"
"$program" mmr "$demo" --data rows.h5 --db parts.db --device cpu --layers 4-6 --steps 40 --batch 2 \
    --heldout 3 --quiet --json >parts.json
grep -q '"steps": 40,' parts.json || complain "the last part computed more than its own steps"
everything whole.db >whole.csv
everything parts.db >parts.csv
[ "$(wc -l <whole.csv)" -gt 150 ] || complain "only $(wc -l <whole.csv) values"
cmp whole.csv parts.csv || complain "another result after two stops"
"$program" mmr "$demo" --data rows.h5 --db whole.db --device cpu --layers 4-6 --steps 40 --batch 2 \
    --heldout 3 --quiet | head -n 1 | grep -q '^run 1 was complete: nothing computed$' ||
    complain "a finished run is computed again"

# Everything from the layer on trains, more than the layer, more than the mixer; and each probe
# leaves the model as it was: layer 1 does not see what layer 0's probe did. The head is not tied.
for seed in 1 2 3 4 5 6; do
    echo "$seed 20 7 100 $((seed + 30)) 9 11 $((seed * 7)) 250 3"
done | "$tests/make_tokens" tiny6.h5 300
for train in mixer layer all; do
    "$program" mmr "$models/llama-f32-bare" --data tiny6.h5 --db $train.db --device cpu --train $train --steps 20 \
        --batch 2 --heldout 2 --lr 0.01 --quiet >$train || complain "--train $train: exit code $?"
    "$program" mmr "$models/llama-f32-bare" --data tiny6.h5 --db $train.db --device cpu --train $train --steps 20 \
        --batch 2 --heldout 2 --lr 0.01 --quiet --layers 1 >/dev/null || complain "--train $train --layers 1: exit code $?"
    for run in 1 2; do
        "$program" scores --db $train.db --run $run --export sequences | grep '^[12],1,' | cut -d, -f2- >$train.$run
    done
    [ "$(wc -l <$train.1)" = 16 ] || complain "--train $train: $(wc -l <$train.1) values"
    cmp $train.1 $train.2 || complain "--train $train: a probe changes the next one"
done
# last training loss of layer 0
for train in mixer layer all; do awk '$1 == 0 { print $3 }' $train; done |
    awk 'NR > 1 && $1 >= last { exit 1 } { last = $1 }' || complain "training more does not lower the loss more"
found=0
"$program" mmr "$models/llama-f32-bare" --data tiny6.h5 --db parts_all.db --device cpu --train all --steps 20 --batch 2 \
    --heldout 2 --lr 0.01 --quiet --limit-steps 7 >out 2>errors || found=$?
[ $found -eq 130 ] || complain "--train all, stopped: exit code $found"
"$program" mmr "$models/llama-f32-bare" --data tiny6.h5 --db parts_all.db --device cpu --train all --steps 20 --batch 2 \
    --heldout 2 --lr 0.01 --quiet >out || complain "--train all, continued: exit code $?"
"$program" scores --db all.db --run 1 --export sequences >all.csv
"$program" scores --db parts_all.db --run 1 --export sequences | cmp all.csv - || complain "--train all: another result after a stop"

# Single choices of the initialisation make another run, and are said in it.
"$program" mmr "$demo" --data rows.h5 --db choices.db --device cpu --layers 11 --steps 1 --batch 2 --heldout 2 --quiet >out
"$program" mmr "$demo" --data rows.h5 --db choices.db --device cpu --layers 11 --steps 1 --batch 2 --heldout 2 --quiet \
    --a-init one --dt-range 0.01,0.3 >out
"$program" scores --db choices.db --run 2 | grep -q '"a_init":"one",.*"dt_max":0.[23][0-9]*,"dt_min":0.01' ||
    complain "the choices are not in the run's parameters: $("$program" scores --db choices.db --run 2 | sed -n 2p)"

# A probe that diverges ends; the others go on, and what there is of it is kept.
"$program" mmr "$demo" --data rows.h5 --db diverged.db --device cpu --layers 10,11 --steps 4 --batch 2 \
    --heldout 2 --lr 1e30 --quiet >diverged 2>errors || complain "diverging probes: exit code $?"
cat >errors.expected <<'X'
warning: layer 10, seed 0: the loss is not finite at step 1; the probe ends
warning: layer 11, seed 0: the loss is not finite at step 1; the probe ends
X
diff -u errors.expected errors >&2 || complain "diverging probes: other warnings"
[ "$(grep -c 'diverged at step 1$' diverged)" = 2 ] || complain "diverging probes: $(cat diverged)"
"$program" scores --db diverged.db | grep -q ' done ' || complain "diverging probes: the run is not done"
[ "$("$program" scores --db diverged.db --run 1 --export steps | wc -l)" = 3 ] ||
    complain "diverging probes: not the finite steps"
"$program" scores --db diverged.db --run 1 2>&1 |
    grep -qF 'run 1 (mmr) has no metric "heldout_rkl_after"; it has: diverged_at_step, ' ||
    complain "diverging probes have a score after training"
# The very last update can do it too: then only the measurement shows it.
"$program" mmr "$demo" --data rows.h5 --db last.db --device cpu --layers 11 --steps 1 --batch 2 \
    --heldout 2 --lr 1e30 --quiet 2>&1 | grep -q 'diverged at step 1$' ||
    complain "a probe that diverges in its last step"
# In rounds, a diverged probe takes no more part.
"$program" mmr "$demo" --data rows.h5 --db rounds.db --device cpu --layers 10,11 --steps 30 --batch 2 \
    --heldout 2 --lr 1e30 --stop-when-stable 10 --quiet >rounds 2>&1 || complain "diverging rounds: exit code $?"
[ "$(grep -c 'diverged at step 1$' rounds)" = 2 ] || complain "diverging rounds: $(cat rounds)"

# A single held-out row has no standard error, rows of one token no next token.
printf '5\n6\n7\n' | "$tests/make_tokens" ones.h5 2048
"$program" mmr "$demo" --data ones.h5 --db ones.db --device cpu --layers 11 --steps 2 --batch 1 \
    --heldout 1 --quiet >ones || complain "rows of one token: exit code $?"
awk 'NR == 3 && !($1 == 11 && $5 > 0 && $6 == "-") { exit 1 }' ones || complain "one row: $(cat ones)"

fails 2 'mmr: name one model directory (see apriel-tool mmr --help)' --data rows.h5 --db a.db
fails 2 'mmr: --data and --db are needed' "$demo" --db a.db
fails 2 'mmr: --steps is 0, outside 1 to 1000000' "$demo" --data rows.h5 --db a.db --steps 0
fails 2 'mmr: --lr and --temperature must be positive, --beta1 and --beta2 at least 0 and below 1' \
    "$demo" --data rows.h5 --db a.db --lr 0
fails 2 'mmr: --a-init must be s4d or one, not "two"' "$demo" --data rows.h5 --db a.db --a-init two
fails 2 '--dt-range must be two numbers from 0.0001 to 10 like 0.001,0.1, not "0.1"' \
    "$demo" --data rows.h5 --db a.db --dt-range 0.1
fails 2 'mmr: --together 2 needs --train mixer: what else trains is every probe'"'"'s own' \
    "$demo" --data rows.h5 --db a.db --together 2 --train layer
fails 2 'mmr: --train must be mixer, layer or all, not "some"' "$demo" --data rows.h5 --db a.db --train some
fails 2 'mmr: --loss must be rkl, fkl or ce, not "mse"' "$demo" --data rows.h5 --db a.db --loss mse
fails 2 '--layers: "12" goes outside 0 to 11' "$demo" --data rows.h5 --db a.db --heldout 2 --layers 12
fails 2 '--layers: "" is not a list like 0-11,13' "$demo" --data rows.h5 --db a.db --heldout 2 --layers ''
fails 2 '--heldout 8: "rows.h5" has 8 rows, which leaves none to train on' \
    "$demo" --data rows.h5 --db a.db --heldout 8
fails 2 '--heldout 9: "rows.h5" has 8 rows, which leaves none to train on' \
    "$demo" --data rows.h5 --db a.db --heldout 9
fails 2 'mmr: --base "rows.h5" is no directory: convert the plan into a hybrid first' \
    "$demo" --data rows.h5 --db a.db --base rows.h5
fails 1 "\"$models/apriel-h1\" is not a hybrid of \"$demo\": their shapes differ" \
    "$demo" --data rows.h5 --db a.db --heldout 2 --base "$models/apriel-h1"
printf '5 6 7\n8 9 10\n' | "$tests/make_tokens" tiny.h5 300
fails 2 '--layers: layer 1 has no attention left to replace' \
    "$models/apriel-h1" --data tiny.h5 --db a.db --heldout 1 --layers 1
fails 1 'cannot open "absent.h5": No such file or directory' "$demo" --data absent.h5 --db a.db
fails 1 'cannot create a cache file in "absent": No such file or directory' \
    "$demo" --data rows.h5 --db a.db --heldout 2 --batch 2 --steps 1 --cache-dir absent
printf '{"ids": [5, 6, 4000]}\n{"ids": [5, 6, 7]}\n' | "$tests/make_tokens" large.h5 5000
fails 1 "\"large.h5\" has token id 4000, but the model's vocabulary has 2048: was it made with another tokenizer?" \
    "$demo" --data large.h5 --db a.db --heldout 1
# Masks: everything, a step's rows, the held-out rows.
printf '5 !6 !7\n5 !6 !7\n' | "$tests/make_tokens" masked.h5 2048
fails 1 '"masked.h5": the loss mask leaves no token to predict' "$demo" --data masked.h5 --db a.db --heldout 1
printf '5 6 7\n5 !6 !7\n5 6 7\n' | "$tests/make_tokens" step.h5 2048
fails 1 '"step.h5": the loss mask leaves no token to predict in the rows of step 1 (from row 1 on): use a larger --batch' \
    "$demo" --data step.h5 --db a.db --heldout 1 --batch 1
printf '5 6 7\n5 6 7\n5 !6 !7\n' | "$tests/make_tokens" heldout.h5 2048
fails 1 '"heldout.h5": the loss mask leaves no token to predict in the 1 held-out rows: use a larger --heldout' \
    "$demo" --data heldout.h5 --db a.db --heldout 1
fails 1 '"ones.h5": rows of one token leave no token to predict in the 1 held-out rows: use a larger --heldout' \
    "$demo" --data ones.h5 --db a.db --heldout 1 --loss ce
[ ! -e a.db ] || complain "a run that cannot start leaves a database"
exit $bad
