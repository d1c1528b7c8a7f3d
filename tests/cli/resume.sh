#!/bin/sh
# loo and mmr, killed and interrupted again and again, end with the very values of an uninterrupted
# run.
. "$(dirname "$0")/common.sh"

"$program" data --tokenizer "$demo" -o rows.h5 --seq-len 64 --limit-tokens 6400 --quiet \
    "$source/recipes/gsm8k-excerpt.jsonl" >/dev/null

# values DATABASE: every value of run 1, without what may differ (seconds, rows found).
values() {
    "$program" scores --db "$1" --run 1 --export csv
    "$program" scores --db "$1" --run 1 --export sequences
}

# check NAME SIGNAL EXPECTED-CODE command...: stop the command with SIGNAL after 0.4, 0.7, 1.0 …
# seconds until it comes to its end by itself. Longer and longer: each stop leaves something done.
check() {
    name=$1 signal=$2 expected=$3
    shift 3
    "$program" "$@" --db whole.db --quiet >/dev/null
    stops=0
    tenths=4
    while :; do
        code=0
        timeout -s "$signal" "$((tenths / 10)).$((tenths % 10))" "$program" "$@" --db parts.db --quiet >/dev/null \
            2>messages || code=$?
        [ $code -ne 0 ] || break
        stops=$((stops + 1))
        case $code in
        124 | 137 | "$expected") ;;
        *)
            echo "resume: $name: exit status $code: $(cat messages)" >&2
            exit 1
            ;;
        esac
        tenths=$((tenths + 3))
        [ $stops -lt 60 ] || { echo "resume: $name never ends" >&2; exit 1; }
    done
    [ $stops -gt 0 ] || echo "resume: $name was too fast to be stopped" >&2
    values whole.db >expected
    values parts.db >found
    cmp expected found || { echo "resume: $name: other values after $stops stops" >&2; exit 1; }
    rm -f whole.db* parts.db*
}

check "loo, killed" KILL 137 loo "$demo" --data rows.h5 --group-tokens 640
check "loo, interrupted" INT 130 loo "$demo" --data rows.h5 --group-tokens 640
check "loo --estimate, killed" KILL 137 loo "$demo" --data rows.h5 --group-tokens 640 --estimate fisher \
    --samples 3
check "mmr, killed" KILL 137 mmr "$demo" --data rows.h5 --layers 9-11 --steps 24 --batch 4 \
    --heldout 8 --seeds 2
check "mmr, interrupted" INT 130 mmr "$demo" --data rows.h5 --layers 9-11 --steps 24 --batch 4 \
    --heldout 8 --seeds 2
