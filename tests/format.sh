#!/bin/sh
# Checks that every C and CUDA file is laid out as .clang-format says, by the clang-format of Debian
# 12 (14; others lay out otherwise). $1 is the source tree; --mend lays the files out.
# Exit status 77: there is no such clang-format here.
set -eu
mend=false
if [ "${1-}" = --mend ]; then
    mend=true
    shift
fi
cd "${1:-.}"

for formatter in clang-format-14 clang-format ""; do
    [ -n "$formatter" ] || { echo "format: skipped, there is no clang-format 14" >&2; exit 77; }
    case $($formatter --version 2>/dev/null || true) in
    *"version 14."*) break ;;
    esac
done
find src kernels eval reports tests -type f \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' \) -print0 >"${TMPDIR:-/tmp}/format.$$"
trap 'rm -f "${TMPDIR:-/tmp}/format.$$"' EXIT
if $mend; then
    xargs -0 -n 40 -P 2 $formatter -i <"${TMPDIR:-/tmp}/format.$$"
    exit
fi
xargs -0 -n 40 -P 2 $formatter --dry-run -Werror <"${TMPDIR:-/tmp}/format.$$" || {
    echo "format: tests/format.sh --mend lays the files out" >&2
    exit 1
}
