#!/bin/sh
# Every command of `apriel-tool --help` has --help, its own example in README.md and a section in
# the man page; every option of its --help stands in that section.
. "$(dirname "$0")/common.sh"

"$program" --help >"$temporary/usage"
commands=$(sed -n '/^commands:$/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p' "$temporary/usage")
[ -n "$commands" ] || complain "apriel-tool --help lists no commands"

for command in $commands; do
    help=$temporary/help
    "$program" "$command" --help >"$help" 2>"$temporary/errors" || complain "$command --help fails"
    [ ! -s "$temporary/errors" ] || complain "$command --help writes to stderr"
    head -n 1 "$help" | grep -q "^usage: apriel-tool $command" || complain "$command --help: no usage line"
    grep -q "apriel-tool $command" "$source/README.md" || complain "README.md has no example of $command"
    # The command's section: from .SS COMMAND to the next section.
    awk -v command="$command" '/^\.S[SH] / { inside = $1 == ".SS" && $2 == command } inside' \
        "$source/doc/apriel-tool.1" | sed 's/\\-/-/g; s/\\f[BIRP]//g' >"$temporary/section"
    [ -s "$temporary/section" ] || complain "doc/apriel-tool.1 has no section \".SS $command\""
    options=$(sed -n '/^options:$/,$s/^  \(--*[a-z0-9][a-z0-9-]*\).*/\1/p' "$help")
    for option in $options; do
        case $option in --help | --json | --quiet) continue ;; esac
        grep -Eq -e "(^|[^a-z-])$option([^a-z0-9-]|$)" "$temporary/section" ||
            complain "doc/apriel-tool.1 does not have $option of $command"
    done
done

# A wrong command and no command: usage errors with one line or the usage.
set +e
"$program" nonsense >"$temporary/out" 2>"$temporary/errors"
code=$?
set -e
[ $code -eq 2 ] || complain "a wrong command exits with $code"
[ "$(cat "$temporary/errors")" = 'apriel-tool: no command "nonsense" (see apriel-tool --help)' ] ||
    complain "a wrong command: $(cat "$temporary/errors")"
[ ! -s "$temporary/out" ] || complain "a wrong command prints to stdout"

version=$("$program" --version)
grep -q "version: '${version#apriel-tool }'" "$source/meson.build" || complain "version differs from meson.build"

exit $bad
