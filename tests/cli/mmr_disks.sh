#!/bin/sh
# apriel-tool mmr where disks are small. $1 is the program, $2 the source tree.
set -eu
program=$1
demo=$2/recipes/demo-model
golden=$2/tests/data/golden
tests=$(dirname "$program")/tests
export OMP_WAIT_POLICY=passive
temporary=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$temporary"' EXIT
bad=0
complain() {
    echo "mmr_disks: $*" >&2
    bad=1
}
cd "$temporary"
mkdir small
if ! mount -t tmpfs -o size=1m tmpfs small 2>/dev/null; then
    echo "mmr_disks: no file system can be mounted" >&2
    exit 77
fi
mounted=$temporary/small
head -n 8 "$golden/ids.jsonl" | "$tests/make_tokens" rows.h5 2048
# mmr DATABASE OPTIONS...
mmr() {
    db=$1
    shift
    code=0
    "$program" mmr "$demo" --data rows.h5 --db "$db" --device cpu --layers 11 --batch 2 --heldout 2 \
        --steps 4 --quiet "$@" >out 2>errors || code=$?
}
values() {
    "$program" scores --db "$1" --run 1 --export sequences
    "$program" scores --db "$1" --run 1 --export steps
}

# Training states that do not fit are left out, the rest is saved; a stopped probe begins again.
mmr whole.db
[ $code -eq 0 ] || complain "exit code $code, $(cat errors)"
values whole.db >expected
mmr small/a.db --limit-steps 2
[ $code -eq 130 ] || complain "no room for a state: exit code $code, $(cat errors)"
grep -q '^warning: training states of 8[0-9.]* [kK]B are not saved, "small/a.db" has [0-9.]* [kK]B free on its disk: a probe that is interrupted begins again$' errors ||
    complain "no room for a state: $(cat errors)"
mmr small/a.db
[ $code -eq 0 ] || complain "no room for a state, again: exit code $code, $(cat errors)"
values small/a.db | cmp - expected || complain "no room for a state: other values"
rm small/*
# Rounds cannot do without them.
mmr small/a.db --stop-when-stable 10
[ $code -eq 1 ] && [ "$(cat errors)" = 'apriel-tool: cannot write to "small/a.db": the disk is full' ] ||
    complain "no room for rounds: exit code $code, $(cat errors)"
mount -o remount,size=16m small
mmr small/a.db --stop-when-stable 10
[ $code -eq 0 ] || complain "rounds with room again: exit code $code, $(cat errors)"
values small/a.db | cmp - expected || complain "rounds with room again: other values"
exit $bad
