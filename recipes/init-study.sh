#!/bin/sh
# Which initialisation of the Mamba mixers is best? Probes of a few layers with each choice, and a
# table of the held-out reverse KL before and after training, averaged over the layers.
#
# usage: recipes/init-study.sh MODEL TEXT.jsonl DIRECTORY [LAYERS [STEPS [mmr options...]]]
#   recipes/init-study.sh recipes/demo-model recipes/gsm8k-excerpt.jsonl study
#   recipes/init-study.sh SmolLM2-135M recipes/gsm8k-excerpt.jsonl study-smollm2 3,15,27 50
# The same command continues a study that was stopped. Each line of the table is one mmr run.
set -eu
[ $# -ge 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$1 text=$2 out=$3 layers=${4:-2,4,6,9,11} steps=${5:-40}
if [ $# -gt 5 ]; then shift 5; else set --; fi
tool=${APRIEL_TOOL:-$(dirname "$0")/../build/apriel-tool}
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

mkdir -p "$out"
[ -e "$out/tokens.h5" ] || "$tool" data --tokenizer "$model" -o "$out/tokens.h5" --seq-len 256 "$text" --quiet >/dev/null
head_dim=$("$tool" inspect "$model" --json | sed -n 's/^ *"head_dim": \([0-9]*\).*/\1/p' | head -n 1)

study() { # NAME OPTIONS...
    name=$1
    shift
    "$tool" mmr "$model" --kind m2 --data "$out/tokens.h5" --db "$out/$name.db" --layers "$layers" --steps "$steps" --batch 4 \
        --heldout 16 --quiet --json "$@" >"$out/$name.json"
    awk -v name="$name" '
        /"metric":/ { metric = $2 }
        /"value":/ {
            if (metric ~ /heldout_rkl_before/) { before += $2; n++ }
            if (metric ~ /heldout_rkl_after/ && metric !~ /spread/) after += $2
        }
        END { printf "%-24s %8.4f %8.4f\n", name, before / n, after / n }' "$out/$name.json"
}

printf '%-24s %8s %8s   held-out rkl, mean of layers %s, %s steps\n' initialisation before after "$layers" "$steps"
for d_state in 16 ${head_dim:-}; do
    study "published-$d_state" --init published --d-state "$d_state" "$@"
    study "improved-$d_state" --d-state "$d_state" "$@"
    study "gate-random-$d_state" --d-state "$d_state" --gate random "$@"
    study "skip-one-$d_state" --d-state "$d_state" --skip one "$@"
    study "c-scale-one-$d_state" --d-state "$d_state" --c-scale one "$@"
    study "a-one-$d_state" --d-state "$d_state" --a-init one "$@"
    study "dt-$d_state" --d-state "$d_state" --dt-range 0.01,0.3 "$@"
    study "a-one-dt-$d_state" --d-state "$d_state" --a-init one --dt-range 0.01,0.3 "$@"
done
