#!/bin/sh
# The compiler refuses memory of activations where accumulators belong, and the other way round: of
# the calls in tests/swapped.c each is compiled with its two arguments swapped.
#
# usage: tests/swapped.sh SOURCE COMPILER...
set -eu
source=$1
shift
cases=12
out=$(mktemp)
trap 'rm -f "$out"' EXIT
compile() { # NUMBER COMPILER...: 0 swaps nothing
    swapped=$1
    shift
    pairs=
    number=1
    while [ "$number" -le "$cases" ]; do
        how=KEPT
        [ "$number" -ne "$swapped" ] || how=SWAPPED
        pairs="$pairs -DPAIR_$number=$how"
        number=$((number + 1))
    done
    # shellcheck disable=SC2086 # a list of words
    "$@" -std=gnu17 -fsyntax-only -Werror=incompatible-pointer-types -I"$source/src" -I"$source" $pairs \
        "$source/tests/swapped.c" >"$out" 2>&1
}
if ! compile 0 "$@"; then
    cat "$out" >&2
    echo "swapped: the calls as they should be do not compile" >&2
    exit 1
fi
number=1
while [ "$number" -le "$cases" ]; do
    if compile "$number" "$@"; then
        echo "swapped: call $number compiles with two arguments swapped" >&2
        exit 1
    fi
    if ! grep -q 'incompatible' "$out"; then
        cat "$out" >&2
        echo "swapped: call $number does not compile for another reason" >&2
        exit 1
    fi
    number=$((number + 1))
done
[ "$(grep -c 'PAIR([0-9]' "$source/tests/swapped.c")" -eq "$cases" ]
echo "swapped: $cases calls refused"
