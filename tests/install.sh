#!/bin/sh
# Installs the build directory $1 into a temporary place and checks that everything is there.
set -eu
build=$1
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
DESTDIR=$temporary meson install -C "$build" --no-rebuild >"$temporary/log"

program=$(find "$temporary" -type f -name apriel-tool -path '*/bin/*')
[ -n "$program" ] || { echo "install: no program" >&2; exit 1; }
prefix=${program%/bin/apriel-tool}
for file in share/man/man1/apriel-tool.1 share/bash-completion/completions/apriel-tool \
    share/zsh/site-functions/_apriel-tool share/apriel-tool/reports/importance.gp \
    share/apriel-tool/recipes/demo-model/config.json; do
    [ -e "$prefix/$file" ] || { echo "install: \"$file\" is missing" >&2; exit 1; }
done
"$program" --version >/dev/null
if grep -rq "$temporary" "$program"; then
    echo "install: the program contains the place it was installed to" >&2
    exit 1
fi
