#!/bin/sh
# apriel-tool distill: what continues is what was never stopped, whatever stopped it; a state is
# whole or none; the result is a checkpoint like any other; and the steps are PyTorch's.
. "$(dirname "$0")/common.sh"

"$program" convert "$demo" --layers 9,11 --kind m2 --format apriel2 --init published -o hybrid -q >out
head -n 10 "$golden/ids.jsonl" | cut -d, -f 1-40 | sed 's/$/]}/' | "$tests/make_tokens" rows.h5 2048

# distill OUTPUT OPTIONS...
distill() {
    output=$1
    shift
    code=0
    "$program" distill hybrid --teacher "$demo" --data rows.h5 -o "$output" --device cpu --phase mixers:3,all:5 \
        --factors mlp=0 --batch 2 --heldout 2 --validate-every 2 --quiet "$@" >out 2>errors || code=$?
}
# curves DIRECTORY: what does not depend on the clock
curves() {
    "$program" scores --db "$1/training.db" --export curve | cut -d, -f 1-6,8
    "$program" scores --db "$1/training.db" --export heldout
}

distill whole
[ $code -eq 0 ] || complain "whole: exit code $code, $(cat errors)"
curves whole >expected
[ "$(grep -c . expected)" -eq $((1 + 8 + 1 + 4 * 5)) ] || complain "whole: $(cat expected)"
[ "$(ls -d whole/step-*)" = "$(printf 'whole/step-000006\nwhole/step-000008')" ] ||
    complain "whole: other states: $(ls whole)"
for state in whole whole/step-000006; do
    "$program" eval $state --teacher "$demo" --data rows.h5 --device cpu --quiet >out 2>errors ||
        complain "$state is no checkpoint: $(cat errors)"
done
cmp -s whole/model.safetensors whole/step-000008/model.safetensors ||
    complain "whole: the result is not the last state, which is the best"
cmp -s whole/config.json hybrid/config.json || complain "whole: another config.json"
card=README.md
sed 's/ and \*\*not trained yet\*\*/, then trained by `apriel-tool distill`/' hybrid/$card >expected-card
cmp -s expected-card hybrid/$card && complain "the hybrid's card does not say that it is not trained yet"
for state in whole whole/step-000006; do
    cmp -s expected-card $state/$card || complain "$state: another card: $(cat $state/$card)"
done

# same_as_whole DIRECTORY WHAT
same_as_whole() {
    for file in training.bin model.safetensors; do
        cmp -s "whole/step-000008/$file" "$1/step-000008/$file" || complain "$2: another $file"
    done
    cmp -s whole/model.safetensors "$1/model.safetensors" || complain "$2: another result"
    curves "$1" | diff - expected >&2 || complain "$2: other curves"
}

# Once more: nothing to do. With other settings: another run, which is not begun here.
distill whole
[ $code -eq 0 ] && grep -q 'was complete: nothing computed' out || complain "again: $code, $(cat out errors)"
same_as_whole whole again
ends 1 '"whole" was begun with another "settings.lr": name another -o, or remove it' \
    distill hybrid --teacher "$demo" --data rows.h5 -o whole --device cpu --phase mixers:3,all:5 \
    --factors mlp=0 --batch 2 --heldout 2 --validate-every 2 --quiet --lr 1e-3
same_as_whole whole 'other settings'

# Stopped between two phases, within one, and between measurements.
for step in 3 4 5; do
    distill parts --limit-steps $((step == 3 ? 3 : 1))
    [ $code -eq 130 ] || complain "parts, step $step: exit code $code, $(cat errors)"
    grep -q "^apriel-tool: interrupted; step $step is saved in \"parts\": run the same command to continue$" errors ||
        complain "parts, step $step: $(cat errors)"
    [ ! -e parts/config.json ] || complain "parts: a result before the end"
done
distill parts
[ $code -eq 0 ] || complain "parts: exit code $code, $(cat errors)"
same_as_whole parts parts

# Killed at some moments, also while a state is written.
for moment in 0.3 0.6; do
    "$program" distill hybrid --teacher "$demo" --data rows.h5 -o killed --device cpu --phase mixers:3,all:5 \
        --factors mlp=0 --batch 2 --heldout 2 --validate-every 2 --save-every 1 --quiet >out 2>errors &
    running=$!
    sleep $moment
    kill -9 $running 2>/dev/null || true
    wait $running 2>/dev/null || true
done
distill killed --save-every 1
[ $code -eq 0 ] || complain "killed: exit code $code, $(cat errors)"
same_as_whole killed killed
[ ! -e killed/unfinished ] || complain "killed: something is left"

# Ctrl-C saves what is done.
"$program" distill hybrid --teacher "$demo" --data rows.h5 -o stopped --device cpu --phase mixers:3,all:5 \
    --factors mlp=0 --batch 2 --heldout 2 --validate-every 2 --quiet >out 2>errors &
running=$!
tries=0
until [ -e stopped/step-000002/complete ] || [ $tries -eq 300 ]; do
    tries=$((tries + 1))
    sleep 0.05
done
kill -INT $running
code=0
wait $running || code=$?
if [ $code -ne 0 ]; then
    [ $code -eq 130 ] && grep -q '^apriel-tool: interrupted; step [0-9]* is saved in "stopped": ' errors ||
        complain "Ctrl-C: exit code $code, $(cat errors)"
    ! ls -d stopped/*unfinished* >out 2>&1 || complain "Ctrl-C: something is left"
fi
distill stopped
[ $code -eq 0 ] || complain "Ctrl-C: exit code $code, $(cat errors)"
same_as_whole stopped Ctrl-C

# What a kill can leave: a state without its last file, or half of one under its temporary name.
distill left --limit-steps 5
cp -r left/step-000004 left/step-000006
rm left/step-000006/complete
cp -r left/step-000004 left/unfinished
distill left
[ $code -eq 0 ] || complain "left: exit code $code, $(cat errors)"
same_as_whole left left

# A state that was complete and is damaged is said; the one before is whole.
distill torn --limit-steps 5
truncate -s -1 torn/step-000005/training.bin
distill torn
[ $code -eq 1 ] && grep -q '^apriel-tool: "torn/step-000005/training.bin" has [0-9]* bytes, expected [0-9]*: ' errors ||
    complain "torn: exit code $code, $(cat errors)"
rm -r torn/step-000005
distill torn
[ $code -eq 0 ] || complain "torn: exit code $code, $(cat errors)"
same_as_whole torn torn

# A disk that is full leaves the last state whole.
mkdir small
if mount -t tmpfs -o size=64m tmpfs small 2>/dev/null; then
    mounted=$temporary/small
    distill small/d --limit-steps 2
    [ $code -eq 130 ] || complain "small: exit code $code, $(cat errors)"
    mount -o remount,size=$(($(du -sk small | cut -f 1) + 2000))k small
    distill small/d
    [ $code -eq 1 ] && grep -q '^apriel-tool: the training state of step 4 cannot be saved: .*No space left on device$' errors ||
        complain "full disk: exit code $code, $(cat errors)"
    [ "$(ls small/d)" = "$(printf 'distill.json\nstep-000000\nstep-000002\ntraining.db')" ] || complain "full disk: $(ls small/d)"
    mount -o remount,size=256m small
    distill small/d
    [ $code -eq 0 ] || complain "room again: exit code $code, $(cat errors)"
    same_as_whole small/d 'room again'
fi

# A rise is said, and what was better is kept; without rows to measure the last weights are.
small='--data rows.h5 --device cpu --steps 4 --factors mlp=0 --batch 2 --validate-every 2'
# shellcheck disable=SC2086 # words
"$program" distill hybrid --teacher "$demo" -o risen $small --heldout 2 --lr 0.3 --patience 1 >out 2>errors ||
    complain "risen: $(cat errors)"
grep -q '^the held-out rkl rises: [0-9.]* at step 2, [0-9.]* at step 0, which is kept$' errors || complain "risen: $(cat errors)"
cmp -s risen/model.safetensors hybrid/model.safetensors || complain "risen: the result is not the best"
# shellcheck disable=SC2086 # words
"$program" distill hybrid --teacher "$demo" -o unmeasured $small --heldout 0 --db unmeasured.db >out 2>errors ||
    complain "unmeasured: $(cat errors)"
cmp -s unmeasured/model.safetensors unmeasured/step-000004/model.safetensors || complain "unmeasured: not the last"
[ ! -e unmeasured/training.db ] && [ -e unmeasured.db ] || complain "unmeasured: another database"

# Directories of other people stay as they are.
mkdir taken
echo mine >taken/notes
ends 1 '"taken" is not empty and was not begun by distill: name another directory' distill hybrid \
    --teacher "$demo" --data rows.h5 -o taken --device cpu --heldout 2 --quiet
[ "$(ls taken)" = notes ] || complain "taken: $(ls taken)"
always='distill hybrid --data rows.h5 -o new --device cpu --quiet'
ends 2 'distill: --teacher, --data and -o are needed'
ends 2 '--heldout 16: "rows.h5" has 10 rows, which leaves none to train on' --teacher "$demo"
ends 2 'distill: --phase says the steps: leave --steps out' --teacher "$demo" --phase all:3 --steps 5
ends 2 '"some:3" is no phase: write mixers:STEPS or all:STEPS, several with commas' --teacher "$demo" --phase some:3
ends 1 "\"hybrid\" has no mixer that \"hybrid\" has not: nothing trains in phase \"mixers\"" \
    --teacher hybrid --heldout 2 --phase mixers:3
always=
[ ! -e new ] || complain "a refused run has begun"

# How far it is.
"$program" distill --status -o parts >out 2>errors || complain "--status: $(cat errors)"
grep -q '^"parts": 8 of 8 steps, finished$' out || complain "--status: $(cat out)"
ends 1 '"taken" is no directory of distill: it has no distill.json' distill --status -o taken

# Its curves, drawn.
if command -v gnuplot >/dev/null; then
    "$program" chart --db whole/training.db --kind training -o curves.svg >out 2>errors || complain "chart: $(cat errors)"
    grep -q 'held out (nats)' curves.svg || complain "chart: no curves"
    [ "$(grep -c '^[0-9]' curves.dat)" -eq $((8 + 2 * 5)) ] || complain "chart: $(cat curves.dat)"
fi
ends 1 'run 1 is of distill, which has no scores of layers' chart --db whole/training.db --run 1 -o layers.svg

# Fifty steps of PyTorch (tests/oracle/distill_torch.py), each within a hundredth.
"$program" convert "$demo" --layers 1,3,5,7,9,11 --kind m2 --format apriel2 --init published --seed 1 -o h6 -q >out
"$program" data --tokenizer "$demo" --seq-len 64 -o g64.h5 -q "$source/recipes/gsm8k-excerpt.jsonl" >out
"$program" distill h6 --teacher "$demo" --data g64.h5 -o golden --device cpu --phase mixers:20,all:30 --in-order \
    --weight-decay 0.1 --batch 3 --micro-batch 2 --heldout 4 --factors embedding=0.1 --validate-every 50 -q >out 2>errors ||
    complain "golden: $(cat errors)"
"$program" scores --db golden/training.db --export curve >training.csv
tr -d ' ,' <"$golden/distill.json" | awk '
    /\[/ { list = $0 ~ /losses/ ? "loss" : "norm"; count = 0; next }
    /^[0-9]/ { value[list, count++] = $0 }
    END { for (i = 0; i < 50; i++) print value["loss", i], value["norm", i] }' >golden.txt
sed 1d training.csv | cut -d, -f 3,5 | tr , ' ' | paste -d ' ' - golden.txt | awk '
    NF != 4 || $1 / $3 > 1.01 || $1 / $3 < 0.99 || $2 / $4 > 1.01 || $2 / $4 < 0.99 { print "step " NR - 1 ": " $0; bad = 1 }
    END { exit bad || NR != 50 }' >&2 || complain "golden: other steps than PyTorch"
exit $bad
