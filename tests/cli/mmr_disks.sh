#!/bin/sh
# apriel-tool mmr where disks are small.
. "$(dirname "$0")/common.sh"

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
    "$program" mmr "$demo" --data rows.h5 --db "$db" --device cpu --layers 11 --kind m2 --batch 2 --heldout 2 \
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
rm small/*

# The cache: what does not fit is refused before any work, then goes where there is room.
mount -o remount,size=1m small
mmr c.db --cache-dir small
[ $code -eq 1 ] && grep -q '^apriel-tool: the probe needs 1\.[0-9]* MB more in "small", which has 1\.05 MB free: name another --cache-dir or use fewer --steps$' errors ||
    complain "no room for the cache: exit code $code, $(cat errors)"
[ ! -e c.db ] || complain "no room for the cache: the run has begun"
[ -z "$(ls small)" ] || complain "no room for the cache: $(ls small) is left"
mount -o remount,size=16m small
mmr c.db --cache-dir small
[ $code -eq 0 ] || complain "room for the cache: exit code $code, $(cat errors)"
values c.db | cmp - expected || complain "room for the cache: other values"
rm small/*
# A limit that no estimate knows of: one line, and nothing stays.
for limit in 10 600; do
    code=0
    (
        trap '' XFSZ
        ulimit -f $limit
        exec "$program" mmr "$demo" --data rows.h5 --db limited.db --device cpu --layers 11 --kind m2 --batch 2 --heldout 2 \
            --steps 4 --quiet --cache-dir small >out 2>errors
    ) || code=$?
    [ $code -eq 1 ] && [ "$(wc -l <errors)" -eq 1 ] || complain "files of $limit blocks: exit code $code, $(cat errors)"
    [ -z "$(ls small)" ] || complain "files of $limit blocks: $(ls small) is left"
done
grep -q '^apriel-tool: cannot [a-z]* .*small' errors || complain "files of 600 blocks: $(cat errors)"
exit $bad
