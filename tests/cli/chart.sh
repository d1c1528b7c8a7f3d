#!/bin/sh
# `chart` with what a newcomer gets wrong: one line, the exit status, and nothing written.
. "$(dirname "$0")/common.sh"
always=chart

fails 2 'chart: needs --db FILE.db (see apriel-tool chart --help)'
fails 2 'chart: needs -o FILE.svg (see apriel-tool chart --help)' --db x.db
fails 2 'chart: unexpected argument "more"' --db x.db -o x.svg more
fails 2 '"x.jpg" must end in .svg, .png or .pdf' --db x.db -o x.jpg
fails 1 'cannot open "x.db": No such file or directory' --db x.db -o x.svg
echo "not a database, but long enough to be looked at as one" >text
fails 1 '"text" is not a score database (not SQLite)' --db text -o x.svg
exit $bad
