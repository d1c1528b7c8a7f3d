#!/bin/sh
# Runs clang-tidy (that of Debian 12, 14: others know other checks) with .clang-tidy over every C file
# that the build directory $1 compiles, of the source tree $2. Exit status 77: it is not here.
set -eu
build=$(realpath "$1")
cd "$2"
for tidy in clang-tidy-14 clang-tidy ""; do
    [ -n "$tidy" ] || { echo "clang_tidy: skipped, there is no clang-tidy 14" >&2; exit 77; }
    case $($tidy --version 2>/dev/null || true) in
    *"version 14."*) break ;;
    esac
done
[ -f "$build/compile_commands.json" ] || { echo "clang_tidy: no compile_commands.json in \"$build\"" >&2; exit 1; }

found=$(mktemp)
trap 'rm -f "$found"' EXIT
# Each file once: some are compiled in several ways.
sed -n 's/^ *"file": "\(.*\.c\)",*$/\1/p' "$build/compile_commands.json" | grep -v '/bench_products\.c$' | sort -u |
    (cd "$build" && xargs -n 20 -P 2 "$tidy" -p "$build" --quiet --extra-arg=-Wno-string-concatenation) >"$found" 2>/dev/null || {
    grep -E '(warning|error): ' "$found" | sort -u >&2
    exit 1
}
