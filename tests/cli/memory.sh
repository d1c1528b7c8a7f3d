#!/bin/sh
# --device-memory and --dry-run of mmr and eval: exact parts that add up, and one line for what does
# not fit, before anything is loaded or written. loo.sh has those of loo.
. "$(dirname "$0")/common.sh"

"$tests/make_tokens" rows.h5 2048 <"$golden/ids.jsonl"
# plan ARGUMENTS...: the table, whose parts must add up to its last row
plan() {
    "$program" "$@" --device cpu --dry-run >plan 2>errors || complain "$*: $(cat errors)"
    [ ! -s errors ] || complain "$*: $(cat errors)"
    awk 'NR == 1 { start = index($0, "bytes on cpu"); next }
         substr($0, 1, 6) == "in all" { all = substr($0, start) + 0; next }
         / may be used on cpu( \(.*\))?$/ { said = 1; next }
         { sum += substr($0, start) }
         END { exit !(said && sum > 0 && sum == all) }' plan || complain "$*: $(cat plan)"
    "$program" "$@" --device cpu --dry-run --json >plan.json
    total=$(sed -n 's/^in all *\([0-9]*\) .*/\1/p' plan)
    grep -q "^  \"device_bytes\": $total,\$" plan.json || complain "$*: --json has another total"
}

plan loo "$demo" --data rows.h5
grep -q '^about [0-9ms]* at the speed measured now$' plan || complain "loo: no time: $(tail -n 1 plan)"
plan mmr "$demo" --kind m2 --data rows.h5 --heldout 4
grep -q "^about " plan || complain "mmr: no time: $(tail -n 1 plan)"
timed() {
    plan "$@"
    grep -q '^about [0-9dhms]* at the speed measured now$' plan || complain "$*: no time: $(tail -n 1 plan)"
    seconds=$(sed -n 's/^ *"seconds": \([0-9.e+-]*\).*/\1/p' plan.json)
    awk -v seconds="$seconds" 'BEGIN { exit !(seconds > 0.01 && seconds < 1e5) }' || complain "$*: $seconds seconds"
}
for estimate in cosine fisher first-order; do timed loo "$demo" --data rows.h5 --estimate $estimate --layers 2-9; done
timed loo "$demo" --task recall --lengths 32 --limit 4 --layers 3
"$program" convert "$demo" --kind m2 --layers 5,8-11 -o hybrid --quiet >out 2>errors || complain "convert: $(cat errors)"
timed mmr "$demo" --base hybrid --data rows.h5 --heldout 4 --layers 3
plan mmr "$demo" --kind m2 --data rows.h5 --heldout 4
grep -q '^12 layers, 100 steps of 8 rows, layers kept; ' plan || complain "mmr: $(tail -n 1 plan)"
grep -q '^shared inputs  *2097152 ' plan || complain "mmr: $(cat plan)"
# What the program and its libraries take depends on the machine's threads.
own=$(awk '/^program and libraries/ { print $4 }' plan)
plan mmr "$demo" --kind m2 --data rows.h5 --heldout 4 --device-memory $((140000000 + own))
grep -q '^12 layers, 100 steps of 8 rows, layers kept, blocks computed again for their gradients; ' plan ||
    complain "mmr in 140M: $(cat plan)"
plan mmr "$demo" --kind m2 --data rows.h5 --heldout 4 --device-memory $((96000000 + own))
grep -q '^12 layers, 100 steps of 8 rows, layers streamed, blocks computed again for their gradients; ' plan ||
    complain "mmr in 96M: $(cat plan)"
plan eval "$demo" --data rows.h5 --teacher "$demo"
grep -q '^groups of up to 2048 tokens; ' plan || complain "eval: $(tail -n 1 plan)"
plan eval "$demo" --data rows.h5 --device-memory 45M
grep -q '^groups of up to 1024 tokens; 45.0 MB may be used on cpu (--device-memory)$' plan || complain "eval: $(tail -n 1 plan)"

fails 1 'the evaluation needs 38.5 MB and --device-memory allows 5.00 MB: use shorter rows' \
    eval "$demo" --data rows.h5 --device-memory 5M --device cpu
for dry in --dry-run '--db a.db'; do
    found=0
    # shellcheck disable=SC2086 # words
    "$program" mmr "$demo" --kind m2 --data rows.h5 --heldout 4 $dry --device-memory 20M --device cpu >out 2>errors || found=$?
    [ $found -eq 1 ] && [ ! -s out ] && grep -qxE 'apriel-tool: the probe needs [0-9.]+ MB and --device-memory allows 20\.0 MB: use a smaller --batch or --cache-dir' errors ||
        complain "mmr in 20M: exit code $found, $(cat errors)"
done
fails 2 'eval: --dry-run goes with --data, not with --task' eval "$demo" --task recall --dry-run
fails 2 'eval: --device-memory goes with --data, not with --task' \
    eval "$demo" --task recall --device-memory 1G
[ ! -e a.db ] || complain "a run that does not fit leaves a database"

# What ulimit leaves bounds the plan, which says so. Under the sanitizers nothing runs within it.
for limit in v d; do
    (ulimit -$limit 700000 && "$program" version) >out 2>&1 || continue
    (ulimit -$limit 700000 && plan mmr "$demo" --kind m2 --data rows.h5 --heldout 4) || bad=1
    grep -q " may be used on cpu (ulimit -$limit)\$" plan || complain "ulimit -$limit: $(tail -n 1 plan)"
done

# Every way of mmr gives the same bits.
for size in 1G $((140000000 + own)) $((96000000 + own)); do
    "$program" mmr "$demo" --kind m2 --data rows.h5 --heldout 4 --device cpu --db $size.db --steps 3 --layers 2,9 \
        --device-memory $size --quiet >out 2>errors || complain "mmr in $size: $(cat errors)"
    "$program" scores --db $size.db --run 1 --export sequences | cut -d, -f2- >$size.csv
    cmp -s 1G.csv $size.csv || complain "mmr in $size: other values"
done
[ "$(wc -l <1G.csv)" -gt 30 ] || complain "mmr: $(cat 1G.csv)"

# Smaller groups give the same values, to the rounding of products of other sizes.
"$program" eval "$demo" --data rows.h5 --device cpu --device-memory 40M --quiet >small
"$program" eval "$demo" --data rows.h5 --device cpu --quiet >large
for file in small large; do awk '$1 == "ce" { print $2 }' $file; done | sort -u | wc -l | grep -qx 1 ||
    complain "eval: another ce in less memory"
exit $bad
