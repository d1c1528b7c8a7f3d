#!/bin/sh
# Every command of `apriel-tool --help` has --help within 80 columns, its own example in README.md
# and a section in the man page; the options of its --help and of that section are the same.
. "$(dirname "$0")/common.sh"

"$program" --help >"$temporary/usage"
commands=$(sed -n '/^commands/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p' "$temporary/usage")
[ -n "$commands" ] || complain "apriel-tool --help lists no commands"
[ "$(wc -L <"$temporary/usage")" -le 80 ] || complain "apriel-tool --help is wider than 80 columns"

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
    options=$(sed -n 's/^  \(-[a-z], \)\{0,1\}\(--[a-z0-9][a-z0-9-]*\).*/\2/p' "$help")
    for option in $options; do
        case $option in --help | --json | --quiet | --threads) continue ;; esac
        grep -Eq -e "(^|[^a-z-])$option([^a-z0-9-]|$)" "$temporary/section" ||
            complain "doc/apriel-tool.1 does not have $option of $command"
    done
done

# A wrong command and no command: usage errors with one line or the usage.
fails 2 'no command "nonsense" (see apriel-tool --help)' nonsense
fails 2 'no command "lo"; did you mean loo? (see apriel-tool --help)' lo
fails 2 'no command "covnert"; did you mean convert? (see apriel-tool --help)' covnert
fails 2 'no command "scroes"; did you mean scores? (see apriel-tool --help)' help scroes
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
