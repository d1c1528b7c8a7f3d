#!/bin/sh
# `chart` with what a newcomer gets wrong: one line, the exit status, and nothing written.
set -eu
program=$1
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"

expect() { # EXIT MESSAGE arguments of chart...
    want=$1 message=$2
    shift 2
    code=0
    "$program" chart "$@" >out 2>errors || code=$?
    if [ "$code" -ne "$want" ] || [ "$(cat errors)" != "apriel-tool: $message" ] || [ -s out ]; then
        echo "chart $*: exit $code, \"$(cat errors)\", expected $want, \"apriel-tool: $message\"" >&2
        exit 1
    fi
    rm -f out errors
    if [ -n "$(ls)" ] && [ "$(ls)" != "text" ]; then
        echo "chart $*: left $(ls)" >&2
        exit 1
    fi
}

expect 2 'chart: needs --db FILE.db (see apriel-tool chart --help)'
expect 2 'chart: needs -o FILE.svg (see apriel-tool chart --help)' --db x.db
expect 2 'chart: unexpected argument "more"' --db x.db -o x.svg more
expect 2 '"x.jpg" must end in .svg, .png or .pdf' --db x.db -o x.jpg
expect 1 'cannot open "x.db": No such file or directory' --db x.db -o x.svg
echo "not a database, but long enough to be looked at as one" >text
expect 1 '"text" is not a score database (not SQLite)' --db text -o x.svg
