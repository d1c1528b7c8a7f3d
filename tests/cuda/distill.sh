#!/bin/sh
# Distillation on a GPU, to be run by hand: fifty steps beside the CPU's, restarts bit for bit, kills,
# and how fast it is.
#
# usage: tests/cuda/distill.sh PROGRAM [DIRECTORY]
#   PROGRAM     apriel-tool, built with CUDA
#   DIRECTORY   where to work (a new one)
set -eu
program=$(realpath "$1")
source=$(cd "$(dirname "$0")/../.." && pwd)
demo=$source/recipes/demo-model
work=${2-$(mktemp -d)}
mkdir -p "$work"
cd "$work"
bad=0
complain() {
    echo "cuda/distill: $*" >&2
    bad=1
}
for mixer in m2 gdn; do
    "$program" convert "$demo" --layers 1,3,5,7,9,11 --kind "$mixer" --format apriel2 -o "h-$mixer" -q >out
done
"$program" data --tokenizer "$demo" --seq-len 64 -o rows.h5 -q "$source/recipes/gsm8k-excerpt.jsonl" >out

# distill KIND OUTPUT OPTIONS...
distill() {
    kind=$1 output=$2
    shift 2
    code=0
    "$program" distill "h-$kind" --teacher "$demo" --data rows.h5 -o "$output" --phase mixers:20,all:30 --in-order \
        --batch 8 --heldout 8 --validate-every 10 --factors embedding=0.1 --weight-decay 0.1 -q "$@" >out 2>errors || code=$?
}
curve() {
    "$program" scores --db "$1/training.db" --export curve
}

for mixer in m2 gdn; do
    distill "$mixer" "$mixer-cpu" --device cpu
    [ $code -eq 0 ] || complain "$mixer on the CPU: $(cat errors)"
    distill "$mixer" "$mixer-cuda" --device cuda
    [ $code -eq 0 ] || complain "$mixer on the GPU: $(cat errors)"
    curve "$mixer-cpu" >cpu.csv
    curve "$mixer-cuda" >cuda.csv
    paste -d , cpu.csv cuda.csv | awk -F , -v kind="$mixer" '
        NR > 1 { far = ($11 - $3) / $3; if (far < 0) far = -far; if (far > most) most = far; steps++ }
        END { printf "%s: %d steps, losses at most %.2f %% from the CPU\n", kind, steps, 100 * most; exit steps != 50 || most > 0.02 }' ||
        complain "$mixer: more than 2 % from the CPU"

    # Stopped five times, killed five times: the bits of a run that was not.
    for step in 7 8 5 1 20; do distill "$mixer" "$mixer-parts" --device cuda --limit-steps $step; done
    distill "$mixer" "$mixer-parts" --device cuda
    for moment in 1 1.5 2 2.5 3; do
        "$program" distill "h-$mixer" --teacher "$demo" --data rows.h5 -o "$mixer-killed" --phase mixers:20,all:30 --in-order \
            --batch 8 --heldout 8 --validate-every 10 --factors embedding=0.1 --weight-decay 0.1 -q --device cuda --save-every 1 >out 2>&1 &
        running=$!
        sleep $moment
        kill -9 $running 2>/dev/null || true
        wait $running 2>/dev/null || true
    done
    distill "$mixer" "$mixer-killed" --device cuda --save-every 1
    for other in parts killed; do
        for file in training.bin model.safetensors; do
            cmp -s "$mixer-cuda/step-000050/$file" "$mixer-$other/step-000050/$file" || complain "$mixer, $other: another $file"
        done
    done
    # The memory's ways give the same bits.
    distill "$mixer" "$mixer-again" --device cuda --recompute
    cmp -s "$mixer-cuda/step-000050/training.bin" "$mixer-again/step-000050/training.bin" || complain "$mixer: --recompute changes bits"
done

# Speed: 32 rows of 1,024 tokens, of a model that is there (MODEL, say SmolLM2-135M), half of it replaced.
if [ -n "${MODEL-}" ]; then
    layers=$("$program" inspect "$MODEL" --json | awk '/"num_hidden_layers"/ { gsub(/[^0-9]/, ""); for (i = 1; i < $0; i += 2) printf "%s%d", i > 1 ? "," : "", i }')
    seq 1 400000 | awk '{ printf "%d times %d is %d. ", $1, $1 + 7, $1 * ($1 + 7) } NR % 400 == 0 { print "" }' >text.txt
    "$program" data --tokenizer "$MODEL" --seq-len 1024 --limit-tokens 2M -o long.h5 -q text.txt >out
    for mixer in m2 gdn; do
        "$program" convert "$MODEL" --layers "$layers" --kind "$mixer" --format apriel2 -o "large-$mixer" -q >out
        "$program" distill "large-$mixer" --teacher "$MODEL" --data long.h5 -o "speed-$mixer" --steps 20 --batch 32 --heldout 4 \
            --validate-every 20 --device cuda -q | sed -n "1s/^/$mixer, 32 x 1,024: /p"
    done
fi
[ $bad -eq 0 ] && echo "cuda/distill: passed"
exit $bad
