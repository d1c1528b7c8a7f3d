#!/bin/sh
# Every document of --json begins with its format and version, is documented in the man page member
# by member, and prints short numbers.
. "$(dirname "$0")/common.sh"
export OMP_WAIT_POLICY=passive

# documented FORMAT FILE [SECTION]: its members are those of doc/apriel-tool.1, JSON DOCUMENTS.
documented() {
    [ "$(sed -n 2,3p "$2" | tr -d ' \n')" = "\"format\":\"apriel-tool/$1\",\"version\":1," ] ||
        complain "$1: begins with $(sed -n 2,3p "$2")"
    sed 's/\\-/-/g' "$source/doc/apriel-tool.1" | awk -v tag=".B apriel-tool/${3:-$1}" '
        /^\.SH/ { inside = $0 == ".SH JSON DOCUMENTS" }
        /^\.TP/ { getline; ours = inside && $0 == tag; next }
        inside && ours' | tr -c 'a-z0-9_\n' '\n' | sort -u >known
    [ -s known ] || complain "the man page has no document \"apriel-tool/${3:-$1}\""
    sed -n 's/^  "\([a-z0-9_]*\)":.*/\1/p' "$2" | grep -vx 'format\|version' | sort >members
    [ -s members ] || complain "$1: no members"
    missing=$(comm -23 members known | tr '\n' ' ')
    [ -z "$missing" ] || complain "the man page does not have of apriel-tool/$1: $missing"
    ! grep -nE '[0-9]\.[0-9]*(0000000|9999999)[0-9]+' "$2" || complain "$1: a long number"
}

# document FORMAT ARGUMENTS...
document() {
    format=$1
    shift
    "$program" "$@" --json >document 2>errors || complain "$* --json: $(cat errors)"
    case "$*" in
    loo*--dry-run | mmr*--dry-run* | align*--dry-run* | eval*--dry-run | distill*--dry-run) documented "$format" document dry-run ;;
    *) documented "$format" document ;;
    esac
}

document version version
document inspect inspect "$demo"
document data data --tokenizer "$demo" -o tokens.h5 --seq-len 64 --limit-tokens 512 \
    "$source/recipes/gsm8k-excerpt.jsonl"
for extra in '' '--estimate fisher' --dry-run; do
    # shellcheck disable=SC2086 # words
    document loo loo "$demo" --data tokens.h5 --db scores.db --layers 0-2 --device cpu $extra
done
document loo loo "$demo" --task recall --lengths 32 --items 1 --depths 1 --db scores.db --layers 0 \
    --device cpu
for extra in '' "--dry-run --cache-dir ."; do
    # shellcheck disable=SC2086
    document mmr mmr "$demo" --data tokens.h5 --db scores.db --layers 0 --steps 1 --batch 4 \
        --heldout 2 --lr 1e-5 --device cpu $extra
done
for extra in '' "--dry-run --cache-dir ."; do
    # shellcheck disable=SC2086
    document align align "$demo" --data tokens.h5 --db scores.db --library library --layers 0 --steps 1 \
        --batch 4 --heldout 2 --device cpu $extra
done
document scores scores --db scores.db
grep -q '"lr": 1e-05' document || complain "a learning rate of 1e-05: $(grep '"lr"' document)"
document scores scores --db scores.db --run 1
document scores scores --db scores.db --compare 1,2
document plan plan --db scores.db --run 1 --stages 1 -o plan.json
documented plan plan.json
document plan-schedule plan --schedule 1,2 --model "$demo" --data tokens.h5 --db scores.db --work w
document convert convert "$demo" --plan plan.json --dry-run
document convert convert "$demo" --plan plan.json -o hybrid
document distill distill hybrid --teacher "$demo" --data tokens.h5 -o distilled --steps 1 --batch 2 --heldout 2 \
    --factors mlp=0,attention=0 --device cpu
document distill-status distill --status -o distilled
document distill distill hybrid --teacher "$demo" --data tokens.h5 --steps 1 --batch 2 --heldout 2 --device cpu --dry-run
document eval eval hybrid --teacher "$demo" --data tokens.h5 --device cpu
document eval eval hybrid --data tokens.h5 --device cpu --dry-run
"$program" plan --db scores.db --signal align --stages 1 -o aligned.json --quiet >out
document eval eval "$demo" --data tokens.h5 --device cpu --plan aligned.json --library library --stage all
document eval eval hybrid --task recall --lengths 32 --items 1 --depths 1 --device cpu
document generate generate "$demo" --prompt Natalia --max-tokens 2 --device cpu
document bench bench "$demo" --layers 0,1 --output 4 --memory 20M --prefill 4 --device cpu
if command -v gnuplot >/dev/null; then
    document chart chart --db scores.db --run 1 -o chart.svg
fi

exit $bad
