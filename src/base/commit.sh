#!/bin/sh
# The commit of this source tree, for `apriel-tool version`: what git says, or else what
# `git archive` wrote into commit.txt. A tree inside of another repository is not taken for that.
#
# usage: commit.sh                     the commit, "-dirty" behind it where the tree has changes
#        commit.sh --release VERSION   VERSION, or VERSION+15.g8b046ce fifteen commits after a tag
cd "$(dirname "$0")/../.." || exit 1
export GIT_OPTIONAL_LOCKS=0
top=$(git rev-parse --show-toplevel 2>/dev/null)
if [ -n "$top" ] && [ "$(cd "$top" && pwd -P)" = "$(pwd -P)" ]; then
    commit=$(git describe --always --dirty --abbrev=12)
    described=$(git describe --tags --match 'v[0-9]*' --abbrev=7 2>/dev/null)
else
    read -r commit described <src/base/commit.txt
    case $commit in
    *Format*) commit=unknown ;;
    esac
fi
if [ "${1-}" != --release ]; then
    echo "$commit"
    exit
fi
case $described in
v*-*-g*) # TAG-COMMITS-gHASH
    hash=${described##*-}
    commits=${described%-*}
    echo "$2+${commits##*-}.$hash"
    ;;
*) echo "$2" ;; # the tag itself, or a tree without tags
esac
