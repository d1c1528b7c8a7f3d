#!/bin/sh
# Which kind of mixer is best, and how many states does it need? The same layers with each kind, on
# the same tokens: held-out reverse KL before training and after some steps (mmr), bytes that a
# sequence keeps in a replaced layer (inspect), speed of decoding with every layer replaced (bench),
# and recall of a hybrid of those layers after a distillation (convert, distill, eval).
#
# usage: recipes/kinds/study.sh MODEL TEXT.jsonl DIRECTORY
#   recipes/kinds/study.sh recipes/demo-model recipes/gsm8k-excerpt.jsonl study
#   LAYERS=3,8,14,20,26 SEQ=4096 RECALL="512 2048" recipes/kinds/study.sh SmolLM2-135M TEXT.jsonl study-smollm2
# The same command continues a study that was stopped. It ends in DIRECTORY/table.tsv and, where
# gnuplot is, DIRECTORY/kinds.svg. Settings, by the environment:
#   LAYERS   layers that are replaced, each alone and all together (every third)
#   STEPS    numbers of training steps, a run of mmr each ("100 500")
#   SEQ      tokens of a row (512)        BATCH  rows of a step (8)      HELDOUT  rows held out (16)
#   DISTILL  steps of distillation before recall is measured (120; 0: none)
#   RECALL   lengths at which it is ("512 2048"; "": not)                ITEMS    of each kind (8)
#   OUTPUT   tokens that the benchmark decodes (256)                     DEVICE   (auto)
#   KINDS    the lines of the table that are wanted (all)
set -eu
[ $# -eq 3 ] || { sed -n '2,23s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$1 text=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
tool=${APRIEL_TOOL:-$here/../../build/apriel-tool}
steps=${STEPS:-100 500} seq=${SEQ:-512} batch=${BATCH:-8} heldout=${HELDOUT:-16} device=${DEVICE:-auto}
recall=${RECALL-512 2048} distill=${DISTILL:-120} items=${ITEMS:-8} output=${OUTPUT:-256}
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

mkdir -p "$out"
[ -e "$out/tokens.h5" ] || "$tool" data --tokenizer "$model" -o "$out/tokens.h5" --seq-len "$seq" "$text" --quiet >/dev/null

# number FILE KEY: the first number under a key of a JSON document
number() {
    sed -n "s/^ *\"$2\": \([-0-9.e+]*\),*\$/\1/p" "$1" | head -n 1
}

"$tool" inspect "$model" --json --quiet >"$out/model.json"
count=$(number "$out/model.json" num_hidden_layers) head_dim=$(number "$out/model.json" head_dim)
a_token=$(($(number "$out/model.json" cache_bytes_per_token) / count))
layers=${LAYERS:-$(seq -s, 1 3 $((count - 1)))}
replaced=$(echo "$layers" | tr ',' '\n' | wc -l)

# A line: its name, and the options of its mixers.
list() {
    cat <<X
m2 --kind m2 --calibrate $out/tokens.h5
gdn --kind gdn --calibrate $out/tokens.h5
mamba2 --kind mamba2 --calibrate $out/tokens.h5
mamba2-half --kind mamba2 --calibrate $out/tokens.h5 --d-state $((head_dim / 2))
mamba2-quarter --kind mamba2 --calibrate $out/tokens.h5 --d-state $((head_dim / 4))
mamba2-eighth --kind mamba2 --calibrate $out/tokens.h5 --d-state $((head_dim / 8))
window-as-mamba2 WINDOW mamba2
window-as-quarter WINDOW mamba2-quarter
X
}

# Bytes that a sequence keeps in a replaced layer, of a hybrid.
measure_state() { # NAME OPTIONS...
    name=$1
    shift
    [ -d "$out/$name" ] || "$tool" convert "$model" --layers "$layers" -o "$out/$name" "$@" --quiet >"$out/$name.made"
    "$tool" inspect "$out/$name" --json --quiet >"$out/$name.inspected"
    echo $(($(number "$out/$name.inspected" state_bytes_per_sequence) / replaced))
}

# The mean of a metric over the layers of a run.
mean() { # FILE METRIC
    awk -v wanted="\"$2\"," '/"metric":/ { metric = $2 }
        /"value":/ && metric == wanted { sum += $2; n++ }
        END { printf n ? "%.4f" : "-", n ? sum / n : 0 }' "$1"
}

measure_probes() { # NAME OPTIONS...: before, then after each number of steps
    name=$1 found=
    shift
    for n in $steps; do
        "$tool" mmr "$model" --data "$out/tokens.h5" --db "$out/probes.db" --layers "$layers" --steps "$n" \
            --batch "$batch" --heldout "$heldout" --device "$device" --quiet --json "$@" >"$out/$name.$n.json"
        [ -n "$found" ] || found=$(mean "$out/$name.$n.json" heldout_rkl_before)
        found="$found	$(mean "$out/$name.$n.json" heldout_rkl_after)"
    done
    echo "$found"
}

# Shares of words that a hybrid of all the layers repeats, at each length.
measure_recall() { # NAME
    made=$out/$1
    if [ "$distill" -gt 0 ] && [ "$1" != teacher ]; then
        [ -d "$made-distilled" ] || "$tool" distill "$made" --teacher "$model" --data "$out/tokens.h5" \
            -o "$made-distilled" --steps "$distill" --batch "$batch" --device "$device" --quiet >"$made.distilled" 2>&1
        made=$made-distilled
    fi
    [ "$1" != teacher ] || made=$model
    for length in $recall; do
        "$tool" eval "$made" --task recall --lengths "$length" --items "$items" --device "$device" --quiet --json \
            >"$out/$1.recall-$length"
        printf '\t%s' "$(awk '/"greedy":/ { inside = 1 } inside && /"value":/ { sub(",", "", $2); printf "%.3f", $2; exit }' \
            "$out/$1.recall-$length")"
    done
}

measure_speed() { # NAME OPTIONS...: tokens a second with every layer replaced
    name=$1
    shift
    "$tool" bench "$model" --layers "$count" --batch 1 --output "$output" --device "$device" --quiet --json "$@" \
        >"$out/$name.bench"
    number "$out/$name.bench" tokens_per_second
}

# Of a line's options, those of sizes: a benchmark needs no others.
sizes_of() {
    echo "$*" | sed "s/--calibrate [^ ]*//"
}

{
    printf 'kind\tstate bytes\tbefore'
    for n in $steps; do printf '\tafter %s' "$n"; done
    printf '\ttokens/s'
    for length in $recall; do printf '\trecall %s' "$length"; done
    echo
    [ -z "$recall" ] || {
        printf 'attention\t-\t-'
        for n in $steps; do printf '\t-'; done
        printf '\t-%s\n' "$(measure_recall teacher)"
    }
} >"$out/table.tsv"
list | while read -r name words; do
    case " ${KINDS:-$name} " in *" $name "*) ;; *) continue ;; esac
    case $words in
    WINDOW*) # the same bytes as another line
        tokens=$((($(cat "$out/${words#* }.state") + a_token - 1) / a_token))
        words="--kind window:$tokens" state=$((tokens * a_token))
        # shellcheck disable=SC2086 # words
        [ -z "$recall" ] || measure_state "$name" $words >"$out/$name.state" ;;
    *)
        # shellcheck disable=SC2086 # words
        state=$(measure_state "$name" $words) ;;
    esac
    echo "$state" >"$out/$name.state"
    # shellcheck disable=SC2046,SC2086 # words
    printf '%s\t%s\t%s\t%.1f%s\n' "$name" "$state" "$(measure_probes "$name" $words)" \
        "$(measure_speed "$name" $(sizes_of $words))" "$(measure_recall "$name")" >>"$out/table.tsv"
    tail -n 1 "$out/table.tsv"
done
column -t -s '	' "$out/table.tsv" 2>/dev/null || cat "$out/table.tsv"
if command -v gnuplot >/dev/null; then
    (cd "$out" && gnuplot "$here/kinds.gp") && echo "drawn: $out/kinds.svg"
fi
