#!/bin/sh
# Runs shellcheck over every shell script of the tree, for what it warns of (but for options of ulimit
# that dash and bash know). $1 is the source tree.
# Exit status 77: there is no shellcheck here.
set -eu
cd "${1:-.}"
command -v shellcheck >/dev/null || { echo "shellcheck: skipped, not installed" >&2; exit 77; }
# tests/cli/common.sh is sourced by the tests of the command line, which is why its variables are used.
find .ci src recipes tests completions -type f \( -name '*.sh' -o -path .ci/run \) ! -path tests/cli/common.sh -print0 |
    xargs -0 -n 20 -P 2 shellcheck --severity=warning --exclude=SC3045 --external-sources --source-path=SCRIPTDIR
