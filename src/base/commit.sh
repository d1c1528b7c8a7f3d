#!/bin/sh
# The commit of this source tree, for `apriel-tool version`: what git says, or else what
# `git archive` wrote into commit.txt. A tree inside of another repository is not taken for that.
cd "$(dirname "$0")/../.." || exit 1
export GIT_OPTIONAL_LOCKS=0
top=$(git rev-parse --show-toplevel 2>/dev/null)
if [ -n "$top" ] && [ "$top" -ef . ]; then
    git describe --always --dirty --abbrev=12
else
    commit=$(cat src/base/commit.txt)
    case $commit in
    *Format*) echo unknown ;;
    *) echo "$commit" ;;
    esac
fi
