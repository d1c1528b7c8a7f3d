#!/bin/sh
# The whole path on a small real model (recipes/demo-model, 12 layers) and 120 GSM8K problems: scores
# the layers in three ways, plans, converts, evaluates and draws. Under two minutes on two idle cores.
# In a source tree it installs what is missing and builds first; installed it takes the program that
# it was installed with, and needs no write access but to DIRECTORY.
#
# usage: recipes/quickstart.sh [DIRECTORY]   (default: apriel-demo, in the source tree or here)
# shellcheck disable=SC2086 # $rows, $probes and $speed are several words
set -eu
here=$(cd "$(dirname "$0")/.." && pwd -P)
case ${1-} in
"" | /*) out=${1:-apriel-demo} ;;
*) out=$PWD/$1 ;;
esac

if [ -f "$here/meson.build" ]; then
    cd "$here"
    recipes/install-packages.sh
    [ -f build/build.ninja ] || meson setup build
    ninja -C build apriel-tool
    program=build/apriel-tool recipes=recipes
else
    program=$here/../../bin/apriel-tool recipes=$here/recipes
    [ -x "$program" ] || program=apriel-tool
fi
# On a machine with other work, threads that wait must not hold on to a core.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

rows='' probes='--steps 30 --batch 4 --heldout 16' speed='--output 512 --memory 100M' items=50
if [ -n "${QUICKSTART_FAST-}" ]; then # the same steps on little, for tests
    rows='--limit-tokens 2048' probes='--steps 2 --batch 2 --heldout 2'
    speed='--output 32 --memory 20M' items=4
fi

mkdir -p "$out"
# What an earlier quickstart left: runs are numbered from 1 below.
rm -rf "$out/hybrid"
rm -f "$out"/tokens.h5 "$out"/plan.json "$out"/scores.db*
for chart in importance ranks throughput; do
    rm -f "$out/$chart".svg "$out/$chart".dat "$out/$chart".gp
done
model=$recipes/demo-model

step() { # TITLE command...: say what, show the command, run it
    printf '\n== %s\n' "$1"
    shift
    printf '$ apriel-tool'
    for word; do
        case $word in
        *[!A-Za-z0-9_./,:=@%+-]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$program" "$@"
}

start=$(date +%s)
step "The model: what it is, and what replacing layers would save" \
    inspect "$model"
step "Text to tokens: the answers count, the questions do not" \
    data --tokenizer "$model" -o "$out/tokens.h5" --seq-len 256 $rows \
    "$recipes/gsm8k-excerpt.jsonl"
step "Take each layer's attention away and see how far the predictions move" \
    loo "$model" --data "$out/tokens.h5" --db "$out/scores.db"
step "The same with whole layers" \
    loo "$model" --data "$out/tokens.h5" --db "$out/scores.db" --ablate block
step "Train a Mamba mixer in the place of each layer's attention for a few steps" \
    mmr "$model" --data "$out/tokens.h5" --db "$out/scores.db" $probes
step "The first again, estimated for all layers from one forward and backward pass" \
    loo "$model" --data "$out/tokens.h5" --db "$out/scores.db" --estimate fisher
step "The layers in order; layers of one tie group cannot be told apart" \
    scores --db "$out/scores.db" --run 1
step "Do the signals agree? Run 3 before and after training" \
    scores --db "$out/scores.db" --compare 1,2,3:heldout_rkl_before,3,4
step "Replace 3 layers by their LOO scores, then 3 more by their MMR scores" \
    plan --db "$out/scores.db" --run 1 --run 3@3 --stages 3,6 -o "$out/plan.json"
step "Write the hybrid of stage 1, its Mamba mixers initialised from attention" \
    convert "$model" --plan "$out/plan.json" --stage 1 -o "$out/hybrid"
step "What the hybrid loses before any training" \
    eval "$out/hybrid" --teacher "$model" --data "$out/tokens.h5"
step "What the plan's stages gain in speed (on this CPU; the plan's table is for a GPU)" \
    bench "$model" --plan "$out/plan.json" $speed --db "$out/scores.db"
step "What the model can still look up in its context, over short distances" \
    eval "$model" --task recall --lengths 32 --depths 0.5,1 --items $items --db "$out/scores.db"
step "And the hybrid" \
    eval "$out/hybrid" --task recall --lengths 32 --depths 0.5,1 --items $items --db "$out/scores.db"
if command -v gnuplot >/dev/null; then
    step "A picture of it all" \
        chart --db "$out/scores.db" --run 1-3 --plan "$out/plan.json" -o "$out/importance.svg"
    step "And where the signals disagree" \
        chart --kind ranks --db "$out/scores.db" --run 1,2,3:heldout_rkl_before,3,4 --plan "$out/plan.json" -o "$out/ranks.svg"
    step "And the speed, beside the published one" \
        chart --kind throughput --db "$out/scores.db" -o "$out/throughput.svg"
else
    echo "no charts: gnuplot is not installed"
fi

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
