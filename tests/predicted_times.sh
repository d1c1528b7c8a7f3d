#!/bin/sh
# Not run by CI, whose machines have other work. What --dry-run predicts beside what runs take:
#     tests/predicted_times.sh PROGRAM MODEL TOKENS.h5 [DEVICE]
set -eu
program=$(realpath "$1") model=$(realpath "$2") rows=$(realpath "$3") device=${4:-cpu}
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
now() {
    date +%s%N
}
# compare ARGUMENTS...
compare() {
    "$program" "$@" --device "$device" --dry-run --json >plan.json
    predicted=$(sed -n 's/^ *"seconds": \([0-9.e+-]*\).*/\1/p' plan.json)
    start=$(now)
    case $1 in
    eval) "$program" "$@" --device "$device" --quiet >/dev/null ;;
    *)
        rm -f a.db
        "$program" "$@" --device "$device" --db a.db --quiet >/dev/null
        ;;
    esac
    awk -v predicted="$predicted" -v took=$(($(now) - start)) -v what="$*" \
        'BEGIN { took /= 1e9; printf "predicted %8.1f s, took %8.1f s, factor %.2f: %s\n", predicted, took, took / predicted, what }'
}
compare loo "$model" --data "$rows"
compare eval "$model" --data "$rows"
compare eval "$model" --data "$rows" --teacher "$model"
compare mmr "$model" --data "$rows" --heldout 8 --steps 10 --layers 2,8
