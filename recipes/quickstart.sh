#!/bin/sh
# The whole path on a small real model (recipes/demo-model, 12 layers) and 120 GSM8K problems:
# installs what is missing, builds, then scores the layers in three ways, plans, converts, evaluates
# and draws. Under two minutes on two idle cores after the build.
#
# usage: recipes/quickstart.sh [DIRECTORY]   (default: apriel-demo in the source tree)
set -eu
cd "$(dirname "$0")/.."
out=${1:-apriel-demo}

recipes/install-packages.sh
# On a machine with other work, threads that wait must not hold on to a core.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
[ -f build/build.ninja ] || meson setup build
ninja -C build apriel-tool

mkdir -p "$out"
# What an earlier quickstart left: runs are numbered from 1 below.
rm -rf "$out/hybrid"
rm -f "$out/scores.db" "$out/scores.db-wal" "$out/scores.db-shm"
model=recipes/demo-model

step() { # TITLE command...: say what, show the command, run it
    printf '\n== %s\n' "$1"
    shift
    printf '$ apriel-tool'
    printf ' %s' "$@"
    printf '\n'
    build/apriel-tool "$@"
}

start=$(date +%s)
step "The model: what it is, and what replacing layers would save" \
    inspect $model
step "Text to tokens: the answers count, the questions do not" \
    data --tokenizer $model -o "$out/tokens.h5" --seq-len 256 recipes/gsm8k-excerpt.jsonl
step "Take each layer's attention away and see how far the predictions move" \
    loo $model --data "$out/tokens.h5" --db "$out/scores.db"
step "The same with whole layers" \
    loo $model --data "$out/tokens.h5" --db "$out/scores.db" --ablate block
step "Train a Mamba mixer in the place of each layer's attention for a few steps" \
    mmr $model --data "$out/tokens.h5" --db "$out/scores.db" --steps 30 --batch 4 --heldout 16
step "The first again, estimated for all layers from one forward and backward pass" \
    loo $model --data "$out/tokens.h5" --db "$out/scores.db" --estimate fisher
step "The layers in order; layers of one tie group cannot be told apart" \
    scores --db "$out/scores.db" --run 1
step "Do the signals agree? Run 3 before and after training" \
    scores --db "$out/scores.db" --compare 1,2,3:heldout_rkl_before,3,4
step "Replace 3 layers by their LOO scores, then 3 more by their MMR scores" \
    plan --db "$out/scores.db" --run 1 --run 3@3 --stages 3,6 -o "$out/plan.json"
step "Write the hybrid of stage 1, its Mamba mixers initialised from attention" \
    convert $model --plan "$out/plan.json" --stage 1 -o "$out/hybrid"
step "What the hybrid loses before any training" \
    eval "$out/hybrid" --teacher $model --data "$out/tokens.h5"
step "What the plan's stages gain in speed (on this CPU; the plan's table is for a GPU)" \
    bench $model --plan "$out/plan.json" --output 512 --memory 100M --db "$out/scores.db"
step "What the model can still look up in its context, over short distances" \
    eval $model --task recall --lengths 32 --depths 0.5,1 --items 50 --db "$out/scores.db"
step "And the hybrid" \
    eval "$out/hybrid" --task recall --lengths 32 --depths 0.5,1 --items 50 --db "$out/scores.db"
step "A picture of it all" \
    chart --db "$out/scores.db" --run 1-3 --plan "$out/plan.json" -o "$out/importance.svg"
step "And where the signals disagree" \
    chart --kind ranks --db "$out/scores.db" --run 1,2,3:heldout_rkl_before,3,4 --plan "$out/plan.json" -o "$out/ranks.svg"
step "And the speed, beside the published one" \
    chart --kind throughput --db "$out/scores.db" -o "$out/throughput.svg"

cat <<END

Done in $(($(date +%s) - start)) seconds. In $out/:
  tokens.h5        the token set (HDF5: /tokens, /row_offsets, /loss_mask)
  scores.db        every score (SQLite: run, score, sequence_score)
  plan.json        the order of replacement and the stages
  hybrid/          the hybrid checkpoint, ready for distillation
  importance.svg   the charts, with their data (.dat) and gnuplot scripts (.gp)
  ranks.svg
  throughput.svg
END
