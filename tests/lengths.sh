#!/bin/sh
# Checks how long functions and files are: no function above 120 lines, 90 of 100 of at most 30, no
# file above 600. $1 is the source tree; -v prints every function, longest first.
#
# It relies on the format that the test `format` checks: a function's last line is a brace in the
# column in which its first line begins.
set -eu
verbose=false
if [ "${1-}" = -v ]; then
    verbose=true
    shift
fi
cd "${1:-.}"
longest=120 usual=30 file=600

files=$(find src kernels eval reports tests -type f \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' \) | sort)
if [ -z "$files" ]; then
    echo "lengths: no source files under $(pwd)" >&2
    exit 1
fi
list=$(mktemp)
trap 'rm -f "$list"' EXIT

# LENGTH FILE:LINE of every function. One begins with the lines up to a brace after the bracket of its
# parameters, in column 1, or in column 5 in a struct of CUDA code, which has methods.
# shellcheck disable=SC2086 # file names of this repository have no blanks
awk '
FNR == 1 { first = 0; start = 0; inside = 0 }
/^(extern "C" )?(struct|union|namespace|class)[^()]*\{$/ { inside = 1; next }
inside && /^\}/ { inside = 0; start = 0; next }
{
    indent = inside ? "    " : ""
    text = $0
    if (first) {
        if (text == indent "}") { print FNR - first + 1, FILENAME ":" first; first = 0; start = 0 }
        next
    }
    own = substr(text, 1, length(indent)) == indent && substr(text, length(indent) + 1, 1) ~ /[A-Za-z_]/
    if (own) {
        start = text ~ /^ *(typedef|case|return|else|if|for|while|do)[ ({]/ || text ~ /;$/ ? 0 : FNR
        if (text ~ /^[A-Z_]+\([A-Za-z_0-9]*\) \{$/) { first = FNR; next } # START_TEST(name) {
    }
    if (start && text ~ /[;}]$/) start = 0
    if (start && text ~ /\)( const)? \{$/) first = start
}
' $files | sort -rn >"$list"

[ -s "$list" ] || { echo "lengths: no functions found" >&2; exit 1; }
$verbose && cat "$list"
bad=0
awk -v longest=$longest '$1 > longest { print $2 ": a function of " $1 " lines; " longest " are the most"; bad = 1 } END { exit bad }' \
    "$list" >&2 || bad=1
awk -v usual=$usual '
    { length_of[NR] = $1 }
    END {
        tenth = length_of[int(NR / 10) + 1]
        print NR " functions: longest " length_of[1] ", 90th percentile " tenth ", median " length_of[int(NR / 2) + 1]
        if (tenth > usual) { print "lengths: more than a tenth of the functions have more than " usual " lines" >"/dev/stderr"; exit 1 }
    }' "$list" || bad=1
# shellcheck disable=SC2086
wc -l $files | awk -v file=$file '$2 != "total" && $1 > file { print $2 ": " $1 " lines; " file " are the most"; bad = 1 } END { exit bad }' >&2 || bad=1
exit $bad
