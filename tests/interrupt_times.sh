#!/bin/sh
# Not run by CI. How long every command takes from Ctrl-C to its end, and from its start to its first
# sign of progress, on a model that is not small:
#     tests/interrupt_times.sh PROGRAM MODEL TEXT.jsonl
set -eu
program=$(realpath "$1") model=$(realpath "$2") text=$(realpath "$3")
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
"$program" data --tokenizer "$model" -o rows.h5 --seq-len 512 --quiet "$text" >/dev/null
printf '%-28s %8s %14s %16s  %s\n' command signal first-line-ms signal-to-end-ms last-line

# measure NAME SIGNAL SECONDS ARGUMENTS...
measure() {
    name=$1 signal=$2 after=$3
    shift 3
    rm -rf errors out
    start=$(date +%s%N)
    "$program" "$@" >out 2>errors &
    child=$!
    first=-
    ticks=0
    while [ $ticks -lt $((after * 10)) ]; do
        [ "$first" != - ] || [ ! -s errors ] || first=$((($(date +%s%N) - start) / 1000000))
        sleep 0.1
        ticks=$((ticks + 1))
    done
    if ! kill -s "$signal" $child 2>/dev/null; then
        printf '%-28s was over before the signal: %s\n' "$name" "$(tail -n 1 errors)"
        return
    fi
    start=$(date +%s%N)
    code=0
    wait $child || code=$?
    printf '%-28s %8s %14s %16s  %s (%d)\n' "$name" "$signal" "$first" \
        $((($(date +%s%N) - start) / 1000000)) "$(tail -n 1 errors)" $code
}

for after in 3 12; do
    measure loo INT $after loo "$model" --data rows.h5 --db a.db --device cpu
    measure "loo --estimate fisher" INT $after loo "$model" --data rows.h5 --db b.db --estimate fisher --device cpu
    measure "loo --task recall" INT $after loo "$model" --task recall --db c.db --device cpu
    measure mmr INT $after mmr "$model" --data rows.h5 --db d.db --heldout 4 --device cpu
    measure "mmr, loss ce, all" TERM $after mmr "$model" --data rows.h5 --db e.db --heldout 4 --loss ce --train all --device cpu
    measure eval INT $after eval "$model" --data rows.h5 --device cpu
    measure "eval --teacher" INT $after eval "$model" --data rows.h5 --teacher "$model" --device cpu
    measure "eval --task recall" TERM $after eval "$model" --task recall --device cpu
    measure generate INT $after generate "$model" --prompt "Once upon a time" --max-tokens 4000 --device cpu
    measure bench INT $after bench "$model" --device cpu
    measure "plan --schedule" INT $after plan --schedule 4 --auto --model "$model" --data rows.h5 --db f.db --work work --device cpu
done
measure convert INT 1 convert "$model" --layers 0-29 -o hybrid
measure data INT 1 data --tokenizer "$model" -o more.h5 "$text" "$text" "$text" "$text"
