#!/bin/sh
# apriel-tool and PyTorch beside each other at Apriel-15B's shape, on one card in one run:
#
#   recipes/bench/run.sh WORK [DEVICE]
#
# needs about 70 GB of device memory, python3 with PyTorch, and (once, for the token sets) h5py.
set -eu
bench=$(dirname "$0")
work=$1
device=${2:-cuda}
tool=${APRIEL_TOOL:-apriel-tool}
shape=$bench/../apriel-15b
mkdir -p "$work"
tokens=$work/4x4096.h5
[ -f "$tokens" ] || python3 "$bench/make_tokens.py" "$tokens" 4 4096
rm -f "$work"/*.db "$work"/*.db-*

# seconds FILE.json: what the command itself counted
seconds() { sed -n 's/^  "seconds": \([0-9.]*\),$/\1/p' "$1"; }

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
loo() {
    name=$1
    shift
    "$tool" loo "$shape" --random-weights 1 --device "$device" --data "$tokens" --db "$work/$name.db" \
        --json --quiet "$@" >"$work/$name.json"
    peak=$(sed -n 's/^  "peak_bytes": \([0-9]*\),$/\1/p' "$work/$name.json")
    echo "loo $*: $(seconds "$work/$name.json") s, peak $peak bytes on the device"
}
loo free
loo 24G --device-memory 24G
python3 "$bench/baseline.py" loo
python3 "$bench/baseline.py" loo --compile
python3 "$bench/baseline.py" loo --loop

# Two runs of different length: their difference is the steps alone, without the first ones.
for layer in 0 25 49; do
    for steps in 2 12; do
        "$tool" mmr "$shape" --kind m2 --random-weights 1 --device "$device" --data "$tokens" --batch 1 \
            --heldout 1 --layers "$layer" --steps "$steps" --db "$work/mmr-$layer-$steps.db" --json \
            --quiet >"$work/mmr-$layer-$steps.json"
    done
    first=$(seconds "$work/mmr-$layer-2.json") all=$(seconds "$work/mmr-$layer-12.json")
    echo "mmr layer $layer: $(awk "BEGIN { print ($all - $first) / 10 }") s a step"
done
python3 "$bench/baseline.py" mmr
