#!/bin/sh
# Runs the tests of tests/cuda/list on this machine's first GPU without meson, from a build or from what
# tests/cuda/bundle.sh packed. The last line is "N passed, N failed", by the programs' own cases.
#
# usage: tests/cuda/run.sh DIRECTORY
#   DIRECTORY   a build directory, or an unpacked bundle
set -eu
if [ $# -ne 1 ]; then
    echo "usage: tests/cuda/run.sh DIRECTORY" >&2
    exit 2
fi
source=$(cd "$(dirname "$0")/../.." && pwd)
directory=$(cd "$1" && pwd)
if [ -f "$directory/data-path" ]; then
    data=$(cat "$directory/data-path")
    if [ ! -e "$data" ]; then
        mkdir -p "$(dirname "$data")"
        ln -s "$source/tests/data" "$data"
    fi
fi
if [ -d "$directory/lib" ]; then
    export LD_LIBRARY_PATH="$directory/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
export CK_TAP_LOG_FILE_NAME=- CK_VERBOSITY=silent
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0
while read -r name program arguments; do
    outcome=0
    # shellcheck disable=SC2086 # a list of words
    "$source/tests/cuda/on_cuda.sh" "$directory/tests" "$program" $arguments >"$log" 2>&1 </dev/null ||
        outcome=$?
    good=$(grep -c '^ok [0-9]' "$log" || true)
    bad=$(grep -c '^not ok [0-9]' "$log" || true)
    case $outcome in
    0) [ "$good" -gt 0 ] || bad=1 ;;
    77)
        echo "skipped: $(tail -n 1 "$log")"
        exit 77
        ;;
    *) [ "$bad" -gt 0 ] || bad=1 ;; # a crash that no case shows
    esac
    [ "$bad" -eq 0 ] || cat "$log"
    echo "$name: $good passed, $bad failed"
    passed=$((passed + good))
    failed=$((failed + bad))
done <"$source/tests/cuda/list"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
