#!/bin/sh
# Alignment at Apriel-15B's shape on this machine's first GPU: 100 steps of 16,384 tokens at each of 50
# layers, scored on 16,384 held-out tokens, timed beside what --dry-run predicts. Random weights and
# tokens. Needs 10 GB of disk a kind for the library, or LAYERS=0-4 and the like.
#
# usage: tests/cuda/align.sh BUILD WORK [KIND] [OPTION...]    (m2; options of align, as --device-memory 40G)
set -eu
[ $# -ge 2 ] || {
    sed -n 's/^# //; /usage/p' "$0" >&2
    exit 2
}
build=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$2"
cd "$2"
kind=${3:-m2}
shift 2
[ $# -eq 0 ] || shift
# 808 rows of 2,048 tokens: 800 to train on, the last 8 held out.
[ -f rows.h5 ] || awk 'BEGIN {
    srand(1)
    for (row = 0; row < 808; row++) {
        printf "["
        for (t = 0; t < 2048; t++) printf "%s%d", t ? "," : "", 131072 * rand()
        print "]"
    }
}' | "$build/tests/make_tokens" rows.h5 131072
set -- "$source/recipes/apriel-15b" --random-weights 0 --data rows.h5 --kind "$kind" --batch 8 --heldout 8 \
    --steps 100 --lr 1e-3 --layers "${LAYERS:-0-49}" "$@"
echo "planned:"
"$build/apriel-tool" align "$@" --dry-run --json >planned.json
grep -E '"(seconds|device_bytes|pinned_bytes|work)":' planned.json
for how in --no-start-scores ''; do
    rm -rf library scores.db*
    start=$(date +%s)
    # shellcheck disable=SC2086 # one word or none
    "$build/apriel-tool" align "$@" $how --library library --db scores.db --json >"measured$how.json"
    echo "measured ${how:-with scores of the starts}: $(($(date +%s) - start)) s in all"
    grep -E '^  "(seconds|steps|peak_bytes|device_peak_bytes)":' "measured$how.json"
done
