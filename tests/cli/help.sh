#!/bin/sh
# Every command of `apriel-tool --help` has --help within 80 columns, its own example in README.md
# and a section in the man page; the options of its --help and of that section are the same.
. "$(dirname "$0")/common.sh"

"$program" --help >"$temporary/usage"
commands=$(sed -n '/^commands/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p' "$temporary/usage")
[ -n "$commands" ] || complain "apriel-tool --help lists no commands"
[ "$(wc -L <"$temporary/usage")" -le 80 ] || complain "apriel-tool --help is wider than 80 columns"

# Those of every command stand in a section of their own.
common='--json\|--quiet\|--threads\|--help'
awk '/^\.S[SH] / { inside = $0 == ".SS common options" } inside && /^\.TP/ { getline; print }' \
    "$source/doc/apriel-tool.1" | sed 's/\\-/-/g' | grep -oE -e '--[a-z]+' | sort >"$temporary/found"
echo "$common" | sed 's/\\|/ /g' | tr ' ' '\n' | sort | diff -u - "$temporary/found" >&2 ||
    complain "doc/apriel-tool.1 has other common options"

for command in $commands; do
    help=$temporary/help
    "$program" "$command" --help >"$help" 2>"$temporary/errors" || complain "$command --help fails"
    [ ! -s "$temporary/errors" ] || complain "$command --help writes to stderr"
    head -n 1 "$help" | grep -q "^usage: apriel-tool $command" || complain "$command --help: no usage line"
    [ "$(wc -L <"$help")" -le 80 ] || complain "$command --help is wider than 80 columns"
    "$program" help "$command" | cmp - "$help" || complain "help $command is not $command --help"
    "$program" "$command" -h | cmp - "$help" || complain "$command -h is not $command --help"
    grep -q "apriel-tool $command" "$source/README.md" || complain "README.md has no example of $command"
    # The command's section: from .SS COMMAND to the next section.
    awk -v command="$command" '/^\.S[SH] / { inside = $1 == ".SS" && $2 == command } inside' \
        "$source/doc/apriel-tool.1" | sed 's/\\-/-/g; s/\\f[BIRP]//g' >"$temporary/section"
    [ -s "$temporary/section" ] || complain "doc/apriel-tool.1 has no section \".SS $command\""
    # What stands in .TP lines there are the options, both ways.
    sed -n 's/^  \(-[a-z], \)\{0,1\}\(--[a-z0-9][a-z0-9-]*\).*/\2/p' "$help" | sort >"$temporary/$command.options"
    grep -vx -e "$common" "$temporary/$command.options" >"$temporary/expected" || true
    awk '/^\.TP/ { getline; print }' "$temporary/section" | grep -oE -e '--[a-z0-9-]+' | sort >"$temporary/found" || true
    diff -u "$temporary/expected" "$temporary/found" >&2 ||
        complain "doc/apriel-tool.1 and $command --help have other options"
done

# README.md shows no option that is not there: in commands those of that command, elsewhere any.
sed -n 's/^.*apriel-tool \([a-z]* .*--.*\)$/\1/p' "$source/README.md" >"$temporary/shown"
while read -r command words; do
    [ -f "$temporary/$command.options" ] || continue
    for option in $(echo "$words" | sed 's/apriel-tool.*//' | grep -oE -e '(^| |`)--[a-z0-9-]+' | tr -d ' `'); do
        grep -qx -e "$option" "$temporary/$command.options" ||
            complain "README.md shows $option of $command, which has none"
    done
done <"$temporary/shown"
cat "$temporary"/*.options >"$temporary/all"
for option in $(grep -oE -e '`--[a-z0-9-]+' "$source/README.md" | tr -d '`' | sort -u); do
    case $option in --sanitize | --version | --prefix) continue ;; esac
    grep -qx -e "$option" "$temporary/all" || complain "README.md speaks of $option, which no command has"
done

# The man page is in order.
if command -v groff >/dev/null; then
    groff -ww -man -Tutf8 "$source/doc/apriel-tool.1" 2>"$temporary/errors" >/dev/null || true
    [ ! -s "$temporary/errors" ] || complain "groff: $(cat "$temporary/errors")"
fi
if command -v mandoc >/dev/null; then
    mandoc -Tlint -W warning "$source/doc/apriel-tool.1" >"$temporary/errors" 2>&1 ||
        complain "mandoc: $(cat "$temporary/errors")"
fi
LC_ALL=C awk '/[^ -~\t]/ { print FILENAME ":" FNR; bad = 1 } END { exit bad }' "$source/doc/apriel-tool.1" >&2 ||
    complain "doc/apriel-tool.1 has bytes that are not ASCII"
for section in EXAMPLES ENVIRONMENT FILES "EXIT STATUS" "JSON DOCUMENTS"; do
    grep -qx ".SH $section" "$source/doc/apriel-tool.1" || complain "doc/apriel-tool.1 has no $section"
done

for words in help 'help help' 'help --help' -h; do
    # shellcheck disable=SC2086
    "$program" $words | cmp - "$temporary/usage" || complain "$words is not --help"
done

# A wrong command and no command: usage errors with one line or the usage.
fails 2 'no command "nonsense" (see apriel-tool --help)' nonsense
fails 2 'no command "lo"; did you mean loo? (see apriel-tool --help)' lo
fails 2 'no command "covnert"; did you mean convert? (see apriel-tool --help)' covnert
fails 2 'no command "scroes"; did you mean scores? (see apriel-tool --help)' help scroes
fails 2 'the first word is a command, not "--hlep"; did you mean --help? (see apriel-tool --help)' --hlep
fails 2 'the first word is a command, not "-x" (see apriel-tool --help)' -x
fails 2 'unknown device "gpu": auto, cpu, cuda or cuda:N' bench "$demo" --device gpu
fails 2 'no task "gsm8": there are recall, arc, arc_easy, arc_challenge, piqa, hellaswag, winogrande, mmlu, choice, gsm8k, math500, aime, amc; did you mean gsm8k?' \
    eval "$demo" --device cpu --task gsm8=x.jsonl
fails 2 'loo: unknown option "--dat"; did you mean --data? (see apriel-tool loo --help)' loo --dat x
fails 2 'mmr: unknown option "--batch_size=4"; did you mean --batch? (see apriel-tool mmr --help)' \
    mmr --batch_size=4
fails 2 'loo: --ablate must be mixer or block, not "mixr"; did you mean mixer?' loo --ablate mixr
fails 2 'mmr: --steps cannot be "many": a whole number, like 100, 4k, 4Ki or 1e6' mmr --steps many
fails 2 'mmr: --steps is 2M, outside 1 to 1000000' mmr --steps 2M
fails 2 'loo: --data needs a value, but the option --db follows' loo --data --db scores.db

version=$("$program" --version | head -n 1)
grep -q "version: '${version#apriel-tool }'" "$source/meson.build" || complain "version differs from meson.build"
[ "$("$program" -V | head -n 1)" = "$version" ] || complain "-V is not --version"

exit $bad
