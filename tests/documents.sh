#!/bin/sh
# Checks that what comments and documents point at is there: a document (NAME.md, also without a
# folder before it) that a comment names, and every file that README.md, CONTRIBUTING.md and
# doc/*.md name in backquotes. A cloner has nothing but the tree. $1 is the source tree.
set -eu
cd "${1:-.}"
bad=0
complain() {
    echo "documents: $*" >&2
    bad=1
}

texts=$(find . -type f \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.sh' -o -name '*.py' \
    -o -name '*.md' -o -name '*.awk' -o -name '*.gp' -o -name 'meson*' -o -name '*.1' \) \
    ! -path './.git/*' ! -path './build*' ! -path './bundle*' ! -path './apriel-demo/*' ! -path ./tests/documents.sh | sort)
names=$(mktemp)
trap 'rm -f "$names"' EXIT

# FILE NAME.md, once each
# shellcheck disable=SC2086 # file names of this repository have no blanks
grep -oE '[A-Za-z0-9_./-]*[A-Za-z0-9_-]\.md\b' $texts | sed 's/^\([^:]*\):/\1 /; s/ source\// /' | sort -u >"$names"
[ -s "$names" ] || complain "no document is named anywhere"
while read -r file name; do
    [ -n "$(find . -name "${name##*/}" -path "*${name#*../}" ! -path './build*' | head -n 1)" ] ||
        complain "$file names \"$name\", which is not in the tree"
done <"$names"
# The design paper of the first authors: its sections are in the headers and in doc/ARCHITECTURE.md.
# shellcheck disable=SC2086
grep -nE '\b(DESIGN|HOUSE)\b' $texts >"$names" || true
while read -r line; do complain "$line: no such document in the tree"; done <"$names"

# `path/of/a/file` in a document; NAME, KIND and the like are placeholders, as are * and <>.
documents="README.md $(find . -maxdepth 1 -name CONTRIBUTING.md) $(find doc -name '*.md')"
# shellcheck disable=SC2013,SC2016,SC2086 # no blanks in what the expression finds
for path in $(grep -ohE '`(src|kernels|eval|reports|tests|recipes|doc|completions|\.ci)/[A-Za-z0-9_./+-]*`' $documents | tr -d '`' | sort -u); do
    case $path in
    *[A-Z][A-Z]*) [ -e "$path" ] || case $path in *KIND* | *NAME* | *OP* | *FAMILY*) ;; *) complain "\"$path\" is not in the tree" ;; esac ;;
    *) [ -e "$path" ] || complain "\"$path\" is not in the tree" ;;
    esac
done
# `module_verb_object` in the documents for contributors: a name of the sources.
documents="$(find . -maxdepth 1 -name CONTRIBUTING.md) $(find doc -name '*.md')"
# shellcheck disable=SC2013,SC2016,SC2086
for name in $(grep -ohE '`[a-z0-9]+(_[a-z0-9]+)+`' $documents | tr -d '`' | sort -u); do
    grep -rqw --include='*.[ch]' --include='*.cu' --include='meson*' -e "$name" src kernels eval reports tests meson_options.txt ||
        complain "\"$name\" is no name of the sources"
done
exit $bad
