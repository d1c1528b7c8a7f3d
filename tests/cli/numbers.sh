#!/bin/sh
# Values of every kind of run, with its numbers version (src/scores/numbers.c). They may change only
# together with the version: then `tests/cli/numbers.sh PROGRAM SOURCE write` writes them anew.
. "$(dirname "$0")/common.sh"
file=$source/tests/data/golden/numbers.csv

echo '[1,5,9,13,2,7,3,11,4,6,8,10]
[3,1,4,1,5,9,2,6,5,3,5,8]
[2,7,1,8,2,8,1,8,2,8,4,5]' | "$tests/make_tokens" rows.h5 300
head -n 3 "$samples/arc_easy.jsonl" >arc.jsonl
head -n 2 "$samples/gsm8k.jsonl" >gsm8k.jsonl
run=0
# take NAME COMMAND WORDS...: the values of a run, a line a layer and metric
take() {
    name=$1 run=$((run + 1))
    shift
    "$program" "$@" --db s.db --device cpu --quiet >out 2>errors || complain "$*: $(cat errors)"
    version=$("$program" scores --db s.db --run $run --json | sed -n 's/^ *"numbers_version": \([0-9]*\),*$/\1/p')
    "$program" scores --db s.db --run $run --export csv |
        awk -F, -v name="$name" -v version="$version" 'NR > 1 { print name "," version "," $2 "," $3 "," $4 }'
}
model=$models/qwen2-tied
{
    take loo loo "$model" --data rows.h5
    take estimate-first-order loo "$model" --data rows.h5 --estimate first-order
    take estimate-fisher loo "$model" --data rows.h5 --estimate fisher
    take estimate-cosine loo "$model" --data rows.h5 --estimate cosine
    take mmr mmr "$model" --kind m2 --data rows.h5 --steps 3 --batch 1 --heldout 1 --layers 0-1
    mkdir states
    take teacher-states mmr "$model" --kind m2 --data rows.h5 --steps 2 --batch 1 --heldout 1 --layers 2 --cache-dir states
    take eval-rows eval "$model" --data rows.h5
    take loo-task loo "$demo" --task recall --lengths 32 --items 1 --depths 0 --layers 0,11
    take eval-choices eval "$demo" --task arc_easy=arc.jsonl
    take eval-answers eval "$demo" --task gsm8k=gsm8k.jsonl --max-tokens 12
} >found
[ "${3-}" != write ] || cp found "$file"
for name in $(sed -n 's/^    {"\([a-z-]*\)", [0-9]*},.*/\1/p' "$source/src/scores/numbers.c"); do
    grep -q "^$name,[1-9]" found || complain "no values of kind $name"
done
awk -F, 'NR == FNR { expected[$1 "," $3 "," $4] = $5; version[$1] = $2; count++; next }
    {
        key = $1 "," $3 "," $4
        e = expected[key]
        seen++
        if ($2 != version[$1]) {
            print $1 ": the numbers version is " $2 ", the golden values are of " version[$1] ": write them anew"
            bad = 1
        } else if (e == "" || ($5 - e) ^ 2 > (1e-4 * e) ^ 2 + 1e-12) {
            print key ": " $5 ", not " e ", under the same numbers version: raise that of " $1 " in src/scores/numbers.c"
            bad = 1
        }
    }
    END { if (seen != count) print seen " values, not " count; exit bad || seen != count }' "$file" found >&2 ||
    complain "other values than tests/data/golden/numbers.csv"
exit $bad
