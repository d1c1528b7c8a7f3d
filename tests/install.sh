#!/bin/sh
# Installs the build directory $1 into a temporary place and checks that everything is there; that
# its quickstart goes the whole way as a user who may write nowhere but into one directory; and that
# the program names the commit of $2, the source tree.
set -eu
build=$1
source=$2
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
chmod 755 "$temporary"
fail() {
    echo "install: $*" >&2
    exit 1
}
DESTDIR=$temporary/root meson install -C "$build" --no-rebuild >"$temporary/log"

program=$(find "$temporary/root" -type f -name apriel-tool -path '*/bin/*')
[ -n "$program" ] || fail "no program"
prefix=${program%/bin/apriel-tool}
for file in share/man/man1/apriel-tool.1 share/bash-completion/completions/apriel-tool \
    share/zsh/site-functions/_apriel-tool share/apriel-tool/reports/importance.gp \
    share/apriel-tool/recipes/demo-model/config.json; do
    [ -e "$prefix/$file" ] || fail "\"$file\" is missing"
done
if grep -q "$temporary" "$program"; then
    fail "the program contains the place it was installed to"
fi

# Renamed: what the program finds, it finds beside itself.
mv "$temporary/root" "$temporary/elsewhere"
prefix=$temporary/elsewhere${prefix#"$temporary/root"}
program=$prefix/bin/apriel-tool
"$program" version >"$temporary/version"
grep -q "^data  *$prefix/bin/../share/apriel-tool/recipes$" "$temporary/version" ||
    fail "version: $(cat "$temporary/version")"
if commit=$(git -C "$source" rev-parse --short=12 HEAD 2>/dev/null); then
    grep -Eq "^commit .*$commit" "$temporary/version" ||
        # built from an earlier commit of the same tree, which ninja looks up when it builds
        grep -Eq '^commit  *([0-9a-f]{12}|.*-g[0-9a-f]{12})' "$temporary/version" ||
        fail "version names no commit: $(cat "$temporary/version")"
fi
# Outside of git there is what `git archive` leaves.
mkdir -p "$temporary/tree/src/base"
cp "$source/src/base/commit.sh" "$temporary/tree/src/base"
# shellcheck disable=SC2016 # a placeholder of git's
for case in 'abcdef0|abcdef0' '$Format:%h$|unknown'; do
    echo "${case%|*}" >"$temporary/tree/src/base/commit.txt"
    [ "$("$temporary/tree/src/base/commit.sh")" = "${case#*|}" ] || fail "commit.sh of ${case%|*}"
done

# The quickstart, in a directory with a blank in its name.
mkdir "$temporary/a user"
cd "$temporary/a user"
run="env HOME=/nonexistent QUICKSTART_FAST=1"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    chown 65534:65534 .
    run="setpriv --reuid=65534 --regid=65534 --clear-groups $run"
else
    chmod -R a-w "$prefix"
    trap 'chmod -R u+w "$temporary"; rm -rf "$temporary"' EXIT
fi
# shellcheck disable=SC2086 # words
$run "$prefix/share/apriel-tool/recipes/quickstart.sh" >"$temporary/out" 2>"$temporary/errors" ||
    fail "quickstart: $(cat "$temporary/errors")"
grep -q '^Done in ' "$temporary/out" || fail "quickstart: $(cat "$temporary/out")"
for file in tokens.h5 scores.db plan.json hybrid/config.json importance.svg; do
    [ -s "apriel-demo/$file" ] || fail "quickstart left no \"$file\""
done
