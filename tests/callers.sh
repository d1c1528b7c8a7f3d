#!/bin/sh
# Checks that every function that a header declares is called by the program, not by tests alone, but
# for those listed here with what a test needs them for. $1 is the source tree.
set -eu
cd "${1:-.}"

# NAME why it may be there for tests alone
cat >"${TMPDIR:-/tmp}/callers.$$" <<'X'
answer_equal            the comparison of answers as a yes or no, for tables of cases and the fuzzer
chat_format             a conversation through a style, for what jinja2 gives of it
chat_style_read         the same
file_remove_directory   what a test leaves
mixer_from_text         a kind and its size in words, until a kind needs them
mixer_kind_count        how many kinds there are, for the tests of every kind
mixer_text              the same
mixer_trains            whether something of a mixer trains
numbers_name            the table of numbers versions, against the stored digests
probe_mixer             a probe's mixer, to start it from the golden parameters
probe_mixer_was_set     the same
schema_migration        a database of an older version
tokenset_receive        the parent's side of the contained reading, fed with anything
trainable_count         how many numbers train
weight_name             the golden file's tensors
X
trap 'rm -f "${TMPDIR:-/tmp}/callers.$$"' EXIT

files=$(find src kernels eval reports -type f \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' \) | sort)
if [ -z "$files" ]; then
    echo "callers: no source files under $(pwd)" >&2
    exit 1
fi
# A declaration begins in column 1 of a header; a name that stands once elsewhere is only defined.
# shellcheck disable=SC2086 # file names of this repository have no blanks
awk -v allowed="${TMPDIR:-/tmp}/callers.$$" '
BEGIN { while ((getline line <allowed) > 0) { split(line, word, " "); known[word[1]] = 1 } }
FNR == 1 { comment = 0; header = FILENAME ~ /\.h$/ }
{
    text = $0
    gsub(/\/\*.*\*\//, " ", text)
    if (comment) { if (!sub(/.*\*\//, "", text)) next; comment = 0 }
    if (sub(/\/\*.*/, "", text)) comment = 1
    if (header && match(text, /^[a-z][A-Za-z0-9_ *]*[ *(*][a-z][a-z0-9_]*\(/) && text !~ /^(static|typedef|extern "C")/) {
        name = substr(text, 1, RLENGTH - 1)
        sub(/.*[^a-z0-9_]/, "", name)
        declared[name] = FILENAME ":" FNR
        sub(/.*\(/, "", text)
    }
    n = split(text, words, /[^A-Za-z0-9_]+/)
    for (i = 1; i <= n; i++) seen[words[i]]++
}
END {
    for (name in declared) {
        total++
        if (seen[name] < 2 && !(name in known)) { print declared[name] ": " name " has no caller" (seen[name] ? "" : ", nor a definition"); bad = 1 }
    }
    print total " functions declared in headers"
    exit bad || total == 0
}' $files
