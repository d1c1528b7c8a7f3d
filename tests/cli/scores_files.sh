#!/bin/sh
# The files of a score database: which names are none, permissions, disks without locks or shared
# memory, what is left beside it, and databases that are damaged or hostile.
. "$(dirname "$0")/common.sh"

head -n 4 "$golden/ids.jsonl" | "$tests/make_tokens" rows.h5 2048
loo() { "$program" loo "$demo" --data rows.h5 --layers 0 --device cpu --quiet "$@"; }
beside() { [ -z "$(ls "$1"-* 2>/dev/null)" ] || complain "$2: leaves $(echo "$1"-*)"; }
values() { "$program" scores --db "$1" --export sequences; }

# Names that are no file, or not a plain one.
always="scores --db"
empty="names no file, and scores kept nowhere are lost: give a score database as FILE.db"
fails 2 "\"\" $empty" ""
fails 2 "\":memory:\" $empty" :memory:
fails 2 '"file:x.db?mode=memory" is a URI, not the name of a file; a file of that name is "./file:x.db?mode=memory"' \
    'file:x.db?mode=memory'
fails 1 '"." is a directory, not a score database' .
fails 1 '"/dev/null" is a device or a pipe, not a score database' /dev/null
mkfifo pipe
fails 1 '"pipe" is a device or a pipe, not a score database' pipe
fails 1 'cannot open "no/such.db": No such file or directory' no/such.db
fails 1 'cannot open "rows.h5/such.db": Not a directory' rows.h5/such.db
always="loo $demo --data rows.h5 --layers 0 --device cpu --quiet --db"
fails 2 "\":memory:\" $empty" :memory:
fails 2 '"file:x.db" is a URI, not the name of a file; a file of that name is "./file:x.db"' file:x.db
fails 1 '"." is a directory, not a score database' .
fails 1 'cannot open "no/such.db": No such file or directory' no/such.db
loo --db "./file:x.db" >out || complain "a name that looks like a URI: $?"
[ -s "file:x.db" ] || complain "a name that looks like a URI: $(ls)"

# A new file follows the umask, as all others do; a link is followed.
for mask in 002:664 007:660 022:644 077:600; do
    rm -f umask.db
    (umask "${mask%:*}" && loo --db umask.db >out) || complain "umask $mask: $?"
    [ "$(stat -c %a umask.db)" = "${mask#*:}" ] || complain "umask $mask: $(stat -c %a umask.db)"
done
ln -s target.db link.db
loo --db link.db >out || complain "a link: $?"
{ [ -L link.db ] && [ -s target.db ]; } || complain "a link: $(ls -l)"

# Nothing is left beside it: after success, failure, reading, interruption.
loo --db plain.db >out
beside plain.db loo
"$program" scores --db plain.db >out
beside plain.db scores
"$program" scores --db plain.db --run 9 >out 2>&1 && complain "run 9"
beside plain.db "scores that fails"
"$program" plan --db plain.db --run 1 --stages 1 -o plan.json >out
beside plain.db plan
"$program" mmr "$demo" --data rows.h5 --db mmr.db --device cpu --layers 10,11 --batch 2 --heldout 2 \
    --steps 4 --limit-steps 3 --quiet >out 2>&1 && complain "mmr was not stopped"
beside mmr.db "mmr that is interrupted"
big=$(stat -c %s mmr.db)
# Space of the training states goes back to the disk.
"$program" mmr "$demo" --data rows.h5 --db mmr.db --device cpu --layers 10,11 --batch 2 --heldout 2 \
    --steps 4 --quiet >out
beside mmr.db mmr
small=$(stat -c %s mmr.db)
[ "$big" -gt 600000 ] && [ "$small" -lt 300000 ] || complain "mmr.db: $big bytes, then $small"
[ "$(sqlite3 mmr.db 'PRAGMA freelist_count')" -lt 10 ] || complain "mmr.db: free pages"

# A file system without locks, whatever it says: at once, and nothing is left behind.
for reason in 37 38 22 95 524; do
    export ODD_REASON=$reason
    for command in "scores --db plain.db" "loo $demo --data rows.h5 --layers 0 --device cpu --quiet --db new.db"; do
        code=0
        case $reason$command in
        37* | *scores*) ;;
        *) continue ;;
        esac
        # shellcheck disable=SC2086 # words
        odd nolocks timeout 20 "$program" $command >out 2>errors || code=$?
        { [ $code -eq 1 ] && grep -q '^apriel-tool: the file system of ".*\.db" has no locks (.*): put the database on a local disk$' errors; } ||
            complain "no locks, reason $reason, $command: $code, $(cat errors)"
    done
    [ ! -e new.db ] || complain "no locks: leaves $(ls new.db*)"
done
unset ODD_REASON

# No shared memory, or a network: a rollback journal, said once; the values are the same.
values plain.db >plain
for kind in noshm noshmfile nfs; do
    odd $kind loo --db $kind.db >out 2>errors || complain "$kind: $?"
    [ "$(grep -c 'rollback journal: open it on one machine at a time$' errors)" = 1 ] ||
        complain "$kind: $(cat errors)"
    values $kind.db | cmp - plain || complain "$kind: other values"
    odd $kind loo --db $kind.db --layers 1 >out 2>errors || complain "$kind again: $?"
    [ ! -s errors ] || complain "$kind again: $(cat errors)"
    [ "$(sqlite3 $kind.db 'PRAGMA journal_mode')" = delete ] || complain "$kind: another journal"
    # One in WAL mode that came there, with something in its log.
    cp plain.db came.db
    odd $kind "$program" scores --db came.db --run 1 >out 2>errors || complain "$kind, read: $?, $(cat errors)"
    odd $kind loo --db came.db --layers 1 >out 2>errors || complain "$kind, written: $?, $(cat errors)"
    [ "$(sqlite3 came.db 'PRAGMA journal_mode')" = delete ] || complain "$kind: came.db in WAL mode"
    values came.db | head -n "$(wc -l <plain)" | cmp - plain || complain "$kind: other values in what came"
    beside came.db "$kind"
    rm came.db
done
[ "$(sqlite3 plain.db 'PRAGMA journal_mode')" = wal ] || complain "plain.db is not in WAL mode"

# Columns that are NULL or of another type, in tables without keys.
# Of an older schema, which they must not break either.
gzip -dc "$source/tests/data/scores/no-keys.db.gz" >no-keys.db
cp no-keys.db good.db
"$program" plan --db good.db --run 1 --stages 1,3 >out 2>errors || complain "no-keys.db: $?"
# damaged SQL MESSAGE ARGUMENTS...
damaged() {
    cp no-keys.db damaged.db
    sqlite3 damaged.db "PRAGMA foreign_keys = OFF; $1"
    message="score database \"damaged.db\" is damaged: $2"
    shift 2
    always=
    fails 1 "$message" "$@"
    rm damaged.db
}
damaged 'UPDATE model SET fingerprint = NULL' 'table "model", row 1: column "fingerprint" is NULL, not a text' \
    plan --db damaged.db --run 1 --stages 1,3
damaged 'UPDATE run SET base = NULL' 'table "run", row 1: column "base" is NULL, not a text' \
    plan --db damaged.db --run 1 --stages 1,3
damaged 'UPDATE run SET parameters = NULL' 'table "run", row 1: column "parameters" is NULL, not a text' \
    chart --db damaged.db --run 1-2 -o c.svg
damaged 'UPDATE score SET value = 9e999' \
    'table "score", row of run 1, metric "ce", layer -1: column "value" is infinite' \
    scores --db damaged.db --run 1 --run 2 --run 3
damaged 'UPDATE run SET kind = NULL' 'table "run", row 1: column "kind" is NULL, not a text' \
    scores --db damaged.db --compare 1,2
for change in 'model SET fingerprint' 'run SET base' 'run SET parameters' 'score SET value' 'run SET kind' \
    'dataset SET path' 'model SET name' 'run SET device' 'run SET status' 'score SET metric' 'score SET n'; do
    for command in 'scores --db damaged.db' 'chart --db damaged.db --run 1 -o c.svg'; do
        cp no-keys.db damaged.db
        sqlite3 damaged.db "UPDATE $change = NULL"
        [ "$(sqlite3 damaged.db 'PRAGMA user_version')" = 6 ] || complain "$change: not the old schema"
        code=0
        # shellcheck disable=SC2086 # words
        "$program" $command >out 2>errors || code=$?
        { [ $code -eq 1 ] && [ "$(wc -l <errors)" = 1 ] &&
            grep -q "^apriel-tool: score database \"damaged.db\" is damaged: table \"${change%% *}\",.*: column \"${change##* }\" is NULL" errors; } ||
            complain "$change = NULL, $command: $code, $(cat errors)"
        [ ! -e c.svg ] || complain "$change: leaves c.svg"
    done
done
gzip -dc "$source/tests/data/scores/rows-twice.db.gz" >twice.db
always=
fails 1 'score database "twice.db" is damaged: table "score", row of run 1, metric "kl", layer 1 is there twice' \
    plan --db twice.db --run 1 --stages 1,2
exit $bad
