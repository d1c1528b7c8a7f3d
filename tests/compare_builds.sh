#!/bin/sh
# Compares what two builds compute, to the last bit: for a change of structure that must not change a
# value. Each command runs with both programs, in directories of their own and on the CPU; JSON
# documents, exit codes, errors and warnings, the values in the score databases and the bytes of the
# files written must be the same. Times, memory and versions are left out. One line a comparison, then
# "N comparisons, N different"; the exit status is 1 where something differs.
#
# usage: tests/compare_builds.sh [--fast] [--keep] OLD NEW MODEL [TOKENS.h5]
#   OLD, NEW   the programs
#   MODEL      a transformer whose attention can be replaced, with its tokenizer.json
#   TOKENS.h5  what loo, mmr and eval --data go over. Default: 2,048 tokens of recipes/gsm8k-excerpt.jsonl
#   --fast     fewer tokens and steps: about a minute on the demo model
#   --keep     leave the two directories, and name them, when something differs
set -eu

fast=false keep=false
while :; do
    case ${1-} in
    --fast) fast=true ;;
    --keep) keep=true ;;
    *) break ;;
    esac
    shift
done
if [ $# -lt 3 ] || [ $# -gt 4 ]; then
    echo "usage: tests/compare_builds.sh [--fast] [--keep] OLD NEW MODEL [TOKENS.h5]" >&2
    exit 2
fi
source=$(cd "$(dirname "$0")/.." && pwd -P)
old=$(realpath "$1") new=$(realpath "$2") model=$(realpath "$3")
tokens=${4:+$(realpath "$4")}
for program in "$old" "$new"; do
    [ -x "$program" ] || { echo "compare_builds: \"$program\" is no program" >&2; exit 2; }
done
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/old" "$work/new"

compared=0 different=0
# judge NAME FILE: whether both sides have the same FILE
judge() {
    compared=$((compared + 1))
    code=$(sed -n 's/^exit code //p' "$work/old/$2" | tail -n 1)
    if ! cmp -s "$work/old/$2" "$work/new/$2"; then
        different=$((different + 1))
        echo "DIFFERENT  $1"
        diff "$work/old/$2" "$work/new/$2" | head -n 6 | cut -c 1-160 | sed 's/^/           /'
    elif [ "${code:-0}" -ne 0 ]; then
        echo "same       $1 (both end with $code: $(grep '^apriel-tool: ' "$work/old/$2" | head -n 1 | cut -c 14-100))"
    else
        echo "same       $1"
    fi
}

# What is no value of the model: when and how fast, how much memory, which program.
forget() {
    sed -E -e '/"(version|tool|tool_version|tool_commit|release|revision|commit|created|date|started|finished|seconds|[a-z_]*_seconds|[a-z_]*per_second)": /d' \
        -e '/"((planned|peak|device_peak|loaded|predicted|room|host_room)_bytes)": /d' "$@"
}

# both NAME ARGUMENTS...: what the programs print for them, and how they end
both() {
    name=$1
    shift
    for side in old new; do
        [ $side = old ] && program=$old || program=$new
        code=0
        (cd "$work/$side" && XDG_CACHE_HOME=$work/$side/cache "$program" "$@" --quiet >out 2>errors) || code=$?
        {
            forget "$work/$side/out"
            grep -E '^(apriel-tool|warning): ' "$work/$side/errors" || true
            echo "exit code $code"
        } >"$work/$side/printed"
    done
    judge "$name" printed
}

# values NAME FILE.db: the values in the score database, every digit of them
values() {
    for side in old new; do
        sqlite3 -readonly "$work/$side/$2" >"$work/$side/values" 2>&1 <<'X' || true
SELECT 'run', id, kind, base, parameters, seed, status FROM run ORDER BY id;
SELECT 'score', run, layer, metric, printf('%!.20g', value), printf('%!.20g', stderr), n FROM score ORDER BY run, metric, layer;
SELECT 'row', run, layer, row, metric, printf('%!.20g', value), count FROM sequence_score ORDER BY run, metric, layer, row;
SELECT 'step', run, layer, seed, step, printf('%!.20g', loss) FROM probe_step ORDER BY run, layer, seed, step;
SELECT 'choice', run, row, choice, printf('%!.20g', loglikelihood), greedy FROM choice ORDER BY run, row, choice;
SELECT 'answer', run, row, sample, text, answer, correct, tokens FROM answer ORDER BY run, row, sample;
X
        grep -q '^score|' "$work/$side/values" || echo "no scores in $side" >>"$work/$side/values"
    done
    judge "$1: values in the database" values
}

# bytes NAME DIRECTORY: every file there by its digest, but for how the program says it was made
bytes() {
    for side in old new; do
        (
            cd "$work/$side/$2" 2>/dev/null || { echo "no $2"; exit 0; }
            find . -type f ! -name apriel-tool.json -exec sha256sum {} + | sort -k 2
            [ ! -f apriel-tool.json ] || forget apriel-tool.json
        ) >"$work/$side/bytes"
    done
    judge "$1: files" bytes
}
forget_directory() {
    rm -rf "$work/old/$1" "$work/new/$1"
}

length=256 limit=2048 steps=10 batch=2 heldout=2 shard=100M items=2 new_tokens=32
if $fast; then length=128 limit=768 steps=3 shard=2M items=1 new_tokens=16; fi

both "inspect" inspect "$model" --json
layers=$(sed -n 's/.*"num_hidden_layers": \([0-9]*\).*/\1/p' "$work/old/out" | head -n 1)
[ -n "$layers" ] || { echo "compare_builds: \"$model\" cannot be inspected" >&2; exit 1; }
half=$((layers / 2)) last=$((layers - 1))
some=0,$half,$last
both "inspect --layers-replaced" inspect "$model" --layers-replaced "1,$half" --json

both "data" data --tokenizer "$model" -o rows.h5 --seq-len $length --limit-tokens $limit --json "$source/recipes/gsm8k-excerpt.jsonl"
both "data --shuffle, records as rows" data --tokenizer "$model" -o shuffled.h5 --shuffle 3 --limit-tokens 4000 --json "$source/recipes/gsm8k-excerpt.jsonl"
[ -n "$tokens" ] || tokens=rows.h5

for ablate in mixer block; do
    both "loo --ablate $ablate" loo "$model" --data "$tokens" --db scores.db --device cpu --ablate $ablate --json
done
both "loo --group-tokens" loo "$model" --data "$tokens" --db groups.db --device cpu --layers $some --group-tokens $length --json
for estimate in fisher first-order cosine; do
    [ $estimate = fisher ] && seed='--seed 5' || seed=
    for ablate in mixer block; do
        # shellcheck disable=SC2086 # words
        both "loo --estimate $estimate --ablate $ablate" loo "$model" --data "$tokens" --db scores.db --device cpu \
            --estimate $estimate --ablate $ablate $seed --json
    done
done
both "loo --task recall" loo "$model" --task recall --lengths 32 --depths 0.5 --items $items --layers $some \
    --db scores.db --device cpu --json
values "loo" scores.db
values "loo --group-tokens" groups.db

# Each probe in a database of its own: what does not count for a run would find the one before.
probe() { # NAME OPTIONS...
    title=$1
    shift
    rm -f "$work"/*/probe.db*
    both "mmr $title" mmr "$model" --data "$tokens" --db probe.db --device cpu --steps $steps --batch $batch \
        --heldout $heldout --layers $some "$@" --json
    values "mmr $title" probe.db
}
probe "(defaults)"
probe "--train layer" --train layer --lr 3e-4
probe "--train all" --train all --layers $half,$last --lr 1e-4 --weight-decay 0.1
probe "--init published --loss fkl" --init published --loss fkl --seeds 2 --layers $half
probe "--loss ce, cosine, warm-up, clip" --loss ce --temperature 2 --schedule cosine --warmup 2 --clip 0.5 --seed 7
probe "with other sizes" --d-state 8 --dt-rank 5 --d-conv 3 --a-init one --dt-range 0.01,0.3 --gate random
probe "--recompute" --recompute
probe "--together" --together 3
probe "--cache-dir" --cache-dir .
probe "--stop-when-stable" --stop-when-stable 2 --group 1
rm -f "$work"/*/probe.db*
both "mmr --limit-steps" mmr "$model" --data "$tokens" --db probe.db --device cpu --steps $steps --batch $batch \
    --heldout $heldout --layers $some --limit-steps $((steps + 1)) --json
probe_again() {
    both "mmr, continued" mmr "$model" --data "$tokens" --db probe.db --device cpu --steps $steps --batch $batch \
        --heldout $heldout --layers $some --json
    values "mmr, continued" probe.db
}
probe_again

both "plan" plan --db scores.db --run 1 --run 2@1 --stages "1,$half" --keep last -o plan.json --json
for side in old new; do forget "$work/$side/plan.json" >"$work/$side/plan"; done
judge "plan: plan.json" plan
for format in hf fast-llm surgery csv; do
    both "plan --format $format" plan --plan plan.json --format $format
done
both "plan --format fast-llm --gate random" plan --plan plan.json --format fast-llm --gate random --d-state 8
both "plan, its serving" plan --db scores.db --run 1 --stages "1,$half" --json
both "plan, its serving as text" plan --db scores.db --run 1 --stages "1,$half" --memory 24G --bandwidth 1e12
both "plan --schedule" plan --schedule "1,$half" --model "$model" --data "$tokens" --db schedule.db --work schedule \
    --device cpu --mmr-options "--steps 5" --init published
both "scores" scores --db scores.db --run 1 --json
both "scores --compare" scores --db scores.db --compare 1,2,3 --json
both "scores --export csv" scores --db scores.db --export csv

hybrid() { # NAME OPTIONS...
    title=$1
    shift
    forget_directory hybrid
    both "convert $title" convert "$model" -o hybrid "$@" --json
    bytes "convert $title" hybrid
}
for format in apriel-h1 apriel2; do
    hybrid "--format $format" --format $format --layers $some
    hybrid "--format $format --init published" --format $format --layers $some --init published --seed 3
    hybrid "--format $format with other choices" --format $format --layers $half --align paper --conv-init random \
        --dt-bias twice --gate open --skip one --c-scale one --a-init one --qkv-bias drop
    hybrid "--format $format with other sizes" --format $format --layers $some --d-state 8 --dt-rank 5 --d-conv 3 \
        --dt-range 0.01,0.3 --max-shard-size $shard
    both "convert --format $format --dry-run" convert "$model" -o dry --format $format --layers $some --dry-run
done
hybrid "--plan --stage" --plan plan.json --stage 1
for side in old new; do [ ! -d "$work/$side/hybrid" ] || mv "$work/$side/hybrid" "$work/$side/first"; done
hybrid "--from" --plan plan.json --from first

both "inspect of a hybrid" inspect hybrid --json
both "eval" eval "$model" --data "$tokens" --db evals.db --device cpu --json
both "eval of a hybrid" eval hybrid --teacher "$model" --data "$tokens" --db evals.db --device cpu --json
both "eval --task recall of a hybrid" eval hybrid --task recall --lengths 32 --depths 0.5,1 --items $items --db evals.db --device cpu --json
both "eval --task arc_easy" eval "$model" --task "arc_easy=$source/eval/samples/arc_easy.jsonl" --db evals.db --device cpu --json
both "eval --task gsm8k of a hybrid" eval hybrid --task "gsm8k=$source/eval/samples/gsm8k.jsonl" --limit 2 --samples 2 \
    --temperature 0.8 --max-tokens $new_tokens --db evals.db --device cpu --json
values "eval" evals.db
both "loo --base HYBRID" loo "$model" --data "$tokens" --db based.db --device cpu --base first --layers 1-2 --json
both "loo --base PLAN" loo "$model" --data "$tokens" --db based.db --device cpu --base plan.json:1 --layers $last --json
values "loo --base" based.db
probe "--base HYBRID" --base first --layers "$last"

cat >"$work/prompts.jsonl" <<'X'
{"prompt": "Question: Tom has 3 apples and buys 4 more. How many apples does he have?\nAnswer:"}
{"prompt": "The"}
{"ids": [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]}
X
for which in "$model" hybrid; do
    [ "$which" = hybrid ] && of=" of a hybrid" || of=
    both "generate$of" generate "$which" --prompts "$work/prompts.jsonl" --max-tokens $new_tokens --device cpu --json
    both "generate$of, sampled" generate "$which" --prompts "$work/prompts.jsonl" --max-tokens $new_tokens --device cpu \
        --temperature 0.9 --top-p 0.95 --top-k 50 --seed 11 --batch 2 --ignore-end --json
done

echo "$compared comparisons, $different different"
if $keep && [ $different -gt 0 ]; then
    trap - EXIT
    echo "left in $work"
fi
[ $different -eq 0 ]
