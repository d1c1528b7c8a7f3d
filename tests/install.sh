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
says() { # COMMIT RELEASE: what commit.sh says
    [ "$("$temporary/tree/src/base/commit.sh")" = "$1" ] || fail "commit.sh: not $1"
    [ "$("$temporary/tree/src/base/commit.sh" --release 2.5.0)" = "$2" ] || fail "commit.sh --release: not $2"
}
# shellcheck disable=SC2016 # a placeholder of git's
for case in 'abcdef0 |abcdef0|2.5.0' '$Format:%h %(describe:tags=true,match=v[0-9]*)$|unknown|2.5.0' \
    'abcdef0 v2.5.0|abcdef0|2.5.0' 'abcdef0 v2.5.0-rc1-12-gabcdef0|abcdef0|2.5.0+12.gabcdef0' \
    'abcdef0 %(describe:tags=true,match=v[0-9]*)|abcdef0|2.5.0'; do # by a git older than 2.32
    echo "${case%%|*}" >"$temporary/tree/src/base/commit.txt"
    rest=${case#*|}
    says "${rest%|*}" "${rest#*|}"
done
# In git a release is refined by the commits behind its tag.
if command -v git >/dev/null; then
    in_tree() { HOME=$temporary git -C "$temporary/tree" -c user.name=n -c user.email=e "$@" >"$temporary/log" 2>&1; }
    in_tree init && in_tree add . && in_tree commit -m one
    says "$(git -C "$temporary/tree" rev-parse --short=12 HEAD)" 2.5.0
    in_tree tag v2.5.0
    [ "$("$temporary/tree/src/base/commit.sh" --release 2.5.0)" = 2.5.0 ] || fail "commit.sh --release at a tag"
    in_tree commit --allow-empty -m two
    "$temporary/tree/src/base/commit.sh" --release 2.5.0 | grep -qE '^2\.5\.0\+1\.g[0-9a-f]{7}$' ||
        fail "commit.sh --release one commit after a tag"
fi

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
