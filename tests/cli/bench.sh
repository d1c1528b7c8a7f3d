#!/bin/sh
# apriel-tool bench: rows, JSON, the database, and its one-line messages.
. "$(dirname "$0")/common.sh"
always="bench --quiet --device cpu"

"$program" bench "$demo" --layers 0,6 --prompt 3 --output 24 --memory 30M --batch auto,2 --prefill 20 \
    --db bench.db --device cpu --quiet >text
[ "$(grep -c ' set ' text)" = 2 ] || complain "no rows of batch 2: $(cat text)"
grep -q '^prefill of one prompt' text || complain "no prefill: $(cat text)"
# The chart of its rows (without gnuplot the data is there all the same).
"$program" chart --kind throughput --db bench.db -o speed.svg >found 2>errors || true
[ "$(grep -vc '^#' speed.dat)" = 4 ] || complain "chart data: $(cat speed.dat errors)"
[ "$(grep -c '^0.0000 . 1 1 0 ' speed.dat)" = 2 ] || complain "the teacher's points: $(cat speed.dat)"
[ ! -s found ] || [ -s speed.svg ] || complain "no picture"

# What fits: (30 MB - weights) / caches of 27 tokens; the hybrid takes more sequences.
"$program" bench "$demo" --layers 0,6 --output 2000 --memory 40M --device cpu --json >json
batches=$(grep '"batch":' json | tr -d ' ,' | cut -d: -f2 | tr '\n' ' ')
set -- $batches
[ "$#" = 2 ] && [ "$1" -ge 1 ] && [ "$2" -gt "$1" ] || complain "batches: $batches"
grep -q '"ratio": 1.0' json || complain "the teacher's ratio is not 1"
grep -q '"paper_ratio": 1.8' json || complain "no published ratio: $(cat json)"
grep -q '"context_lengths": 6' json || complain "context lengths are not said"
for memory in $(grep '"memory_bytes":' json | tr -d ' ,' | cut -d: -f2); do
    [ "$memory" -le 40000000 ] || complain "$memory bytes in a budget of 40 MB"
done

# Nothing fits, and a database that holds nothing of the kind.
"$program" bench "$demo" --layers 0 --memory 12M --output 100000 --device cpu --quiet >text
grep -q 'none fits' text || complain "a full memory: $(cat text)"

# Three rounds: the middle one lies between the extremes, and the database keeps how far they lie apart.
"$program" bench "$demo" --layers 0,6 --prompt 3 --output 24 --memory 30M --batch 2 --db spread.db --device cpu \
    --json >json 2>errors
for name in tokens_per_second ratio; do
    for part in "" _low _high; do
        sed -n "s/^ *\"$name$part\": \([0-9.e+-]*\),*$/\1/p" json
    done | awk '{ v[NR] = $1 } END { n = NR / 3; for (i = 1; i <= n; i++) if (!(v[n + i] <= v[i] && v[i] <= v[2 * n + i])) bad = 1
        exit bad || NR != 6 }' || complain "$name: $(cat json)"
done
"$program" scores --db spread.db --export bench >csv
[ "$(head -n 1 csv | tr , '\n' | tail -n 1)" = spread ] || complain "no spread: $(cat csv)"
awk -F, 'NR > 1 && !($NF > 0 && $NF < 10) { exit 1 }' csv || complain "spread: $(cat csv)"

fails 2 'bench: name one model directory (see apriel-tool bench --help)'
fails 2 'bench: --layers: "13" goes outside 0 to 12' "$demo" --layers 13
fails 2 'bench: --batch cannot be "0" (as in auto,1,8)' "$demo" --batch 0
fails 2 'bench: --prefill cannot be "auto" (as in 512,2048)' "$demo" --prefill auto
fails 2 'bench: --output is 0, outside 1 to 16777216' "$demo" --output 0

exit $bad
