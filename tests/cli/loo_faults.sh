#!/bin/sh
# apriel-tool loo when its database has no room, cannot be written or is used by another run, and
# when it is interrupted.
. "$(dirname "$0")/common.sh"

"$tests/make_tokens" rows.h5 2048 <"$golden/ids.jsonl"
# values DATABASE RUN
values() {
    "$program" scores --db "$1" --run "$2" --export sequences | cut -d, -f2-
}
loo() {
    "$program" loo "$demo" --data rows.h5 --device cpu --layers 8-11 "$@"
}
loo --db whole.db --quiet >out

# Two runs write one database at once: different ones, then the same one.
loo --db both.db --quiet >out1 2>errors1 &
first=$!
loo --db both.db --ablate block --quiet >out2 2>errors2 || complain "a second run: $(cat errors2)"
wait $first || complain "a first run beside another: $(cat errors1)"
values whole.db 1 >expected
same=0
for number in 1 2; do
    if values both.db $number | cmp -s - expected; then same=$((same + 1)); fi
done
[ $same -eq 1 ] || complain "two runs at once: other values"
loo --db same.db --group-tokens 256 --quiet >out1 2>errors1 &
first=$!
second=0
loo --db same.db --group-tokens 256 --quiet >out2 2>errors2 || second=$?
wait $first || complain "the same run twice: $(cat errors1)"
[ $second -eq 0 ] || complain "the same run twice: $(cat errors2)"
[ "$("$program" scores --db same.db | grep -c ' loo ')" -eq 1 ] || complain "the same run twice: two runs"
values same.db 1 | cmp -s - expected || complain "the same run twice: other values"

# No room: a small file system where one can be mounted, a limit on file sizes everywhere.
mkdir small
if mount -t tmpfs -o size=160k tmpfs small 2>/dev/null; then
    mounted=$temporary/small
    code=0
    loo --db small/a.db --group-tokens 256 --quiet >out 2>errors || code=$?
    [ $code -eq 1 ] || complain "full disk: exit code $code"
    case $(cat errors) in
    'apriel-tool: cannot write to "small/a.db": the disk is full') ;;
    *) complain "full disk: $(cat errors)" ;;
    esac
    [ "$(wc -l <errors)" -eq 1 ] || complain "full disk: $(cat errors)"
    mount -o remount,size=8m small
    loo --db small/a.db --group-tokens 256 --quiet >out 2>errors || complain "room again: $(cat errors)"
    values small/a.db 1 | cmp -s - expected || complain "room again: other values"
    umount small
    mounted=
fi
code=0
(
    trap '' XFSZ
    ulimit -f 100
    exec "$program" loo "$demo" --data rows.h5 --device cpu --layers 8-11 --db limited.db --group-tokens 256 --quiet >out 2>errors
) || code=$?
[ $code -eq 1 ] || complain "file size limit: exit code $code"
case $(cat errors) in
'apriel-tool: '*'"limited.db"'*) ;;
*) complain "file size limit: $(cat errors)" ;;
esac
loo --db limited.db --group-tokens 256 --quiet >out 2>errors || complain "no limit again: $(cat errors)"
values limited.db 1 | cmp -s - expected || complain "no limit again: other values"

# A directory in which nothing can be made (for root too), and a directory for a database.
for name in /proc/a.db small; do
    code=0
    loo --db $name --quiet >out 2>errors || code=$?
    [ $code -eq 1 ] || complain "$name: exit code $code"
    case $(cat errors) in
    "apriel-tool: "*"\"$name\""*) ;;
    *) complain "$name: $(cat errors)" ;;
    esac
    [ "$(wc -l <errors)" -eq 1 ] || complain "$name: $(cat errors)"
done

# SIGTERM, twice in a row as `timeout` sends it (SIGINT, which a script in the background may have to
# ignore, is handled alike): what is finished is kept, and the message says how to go on.
for _ in 1 2 3 4 5 6 7 8 9 10; do cat "$golden/ids.jsonl"; done | "$tests/make_tokens" many.h5 2048
"$program" loo "$demo" --data many.h5 --device cpu --db stopped.db --group-tokens 128 --quiet >out 2>errors &
process=$!
await_rows stopped.db sequences
kill -TERM $process
kill -TERM $process
code=0
wait $process || code=$?
[ $code -eq 130 ] || complain "SIGTERM: exit code $code"
[ "$(cat errors)" = 'apriel-tool: interrupted; finished rows are saved in "stopped.db": run the same command to continue' ] ||
    complain "SIGTERM: $(cat errors)"
exit $bad
