#!/bin/sh
# apriel-tool mmr --cache-dir: the same values with the cache and without, from states that are
# computed, found, or damaged; what stays in the directory; two runs at once.
. "$(dirname "$0")/common.sh"

other= # a run in the background
trap '[ -z "$other" ] || kill -KILL $other; cleanup' EXIT
mkdir cache
head -n 8 "$golden/ids.jsonl" | "$tests/make_tokens" rows.h5 2048
# mmr DATABASE OPTIONS...: the exit code in $code, what it says in errors
mmr() {
    db=$1
    shift
    code=0
    "$program" mmr "$demo" --data rows.h5 --db "$db" --device cpu --layers 10,11 --batch 2 --heldout 2 \
        --steps 4 "$@" >out 2>errors || code=$?
}
# good WHAT: the last run has ended well
good() { [ $code -eq 0 ] || complain "$1: exit code $code, $(cat errors)"; }
values() {
    "$program" scores --db "$1" --run 1 --export sequences
    "$program" scores --db "$1" --run 1 --export steps
}
# same WHAT DATABASE EXPECTED
same() { values "$2" | cmp - "$3" || complain "$1: other values"; }
files() { ls cache | sed 's/-[0-9a-f]\{16\}\./-N./' | tr '\n' ' '; }
found='the teacher.s states are there already'

mmr plain.db
good "no cache"
values plain.db >plain
mmr seeded.db --seed 3 --lr 1e-2 --loss fkl
good "no cache, another seed"
values seeded.db >seeded

# Fresh; then the teacher's states are there for runs that differ in how they train.
mmr fresh.db --cache-dir cache
good fresh
same fresh fresh.db plain
grep -q '^cache: 1\.[0-9]* MB in "cache", of which 0 B are there; [0-9.]* [kMGTPE]*B free$' errors ||
    complain "fresh: $(cat errors)"
[ "$(files)" = "apriel-tool-teacher-N.h5 " ] || complain "fresh: leaves $(files)"
cp cache/* teacher
mmr reused.db --cache-dir cache --seed 3 --lr 1e-2 --loss fkl
good reused
same reused reused.db seeded
grep -q "$found" errors || complain "reused: $(cat errors)"
cmp -s cache/* teacher || complain "reused: the teacher's file has changed"
# Other rows are other states.
mmr rows.db --cache-dir cache --heldout 3
good "other rows"
grep -q "$found" errors && complain "other rows: $(cat errors)"
[ "$(files)" = "apriel-tool-teacher-N.h5 apriel-tool-teacher-N.h5 " ] || complain "other rows: $(files)"
mmr dry.db --cache-dir cache --dry-run
grep -q '^cache in "cache": 1\.[0-9]* MB, of which 557 kB are there; ' out || complain "--dry-run: $(cat out)"
mmr dry.db --cache-dir cache --dry-run --json
grep -q '"cache_bytes_there": 557056,' out || complain "--dry-run --json: $(cat out)"
rm cache/*

# Stopped in layer 10, then in layer 11, which goes on from layer 10's inputs.
for limit in 2 4; do
    mmr stopped.db --cache-dir cache --limit-steps $limit
    [ $code -eq 130 ] || complain "stopped: exit code $code, $(cat errors)"
    [ "$(files)" = "apriel-tool-inputs-N.h5 apriel-tool-teacher-N.h5 " ] || complain "stopped: $(files)"
done
grep -q "$found" errors && grep -q '^the shared inputs of layer 10 are there already$' errors ||
    complain "stopped: $(cat errors)"
# Inputs of a later layer are of no use to another run, and one byte that is wrong to none.
mmr earlier.db --cache-dir cache
good earlier
same earlier earlier.db plain
mmr stopped.db --cache-dir cache --limit-steps 1
size=$(wc -c <"$(ls cache/*inputs*)")
for kind in inputs teacher; do
    printf '\377' | dd of="$(ls cache/*$kind*)" bs=1 seek=$((size - 99)) conv=notrunc 2>/dev/null
done
mmr stopped.db --cache-dir cache
good damaged
same damaged stopped.db plain
[ "$(grep -c '^warning: the states in "cache/apriel-tool-.*" are damaged: they are computed again$' errors)" = 2 ] ||
    complain "damaged: $(cat errors)"
[ "$(files)" = "apriel-tool-teacher-N.h5 " ] || complain "damaged: $(files)"
cmp -s cache/* teacher || complain "damaged: another teacher's file"

# Probes in lock step, stopped and continued.
mmr together.db --together 2 --cache-dir cache --limit-steps 4
[ $code -eq 130 ] || complain "lock step, stopped: exit code $code, $(cat errors)"
mmr together.db --together 2 --cache-dir cache
good "lock step"
same "lock step" together.db plain

# What is not ours stays, and the run does not begin.
name=$(ls cache/*)
echo notes >"$name"
mmr foreign.db --cache-dir cache --quiet
[ $code -eq 1 ] && [ "$(cat errors)" = "apriel-tool: \"$name\" is not an HDF5 file, or is truncated or damaged: remove it, or name another --cache-dir" ] ||
    complain "foreign: exit code $code, $(cat errors)"
[ "$(cat "$name")" = notes ] || complain "foreign: the file has changed"
rm cache/*

# Killed at any moment. The later the kill the more is done.
tenths=1
while :; do
    code=0
    timeout -s KILL 0.$tenths "$program" mmr "$demo" --data rows.h5 --db killed.db --device cpu --layers 10,11 \
        --batch 2 --heldout 2 --steps 4 --quiet --cache-dir cache >out 2>errors || code=$?
    [ $code -eq 137 ] && [ $tenths -lt 9 ] || break
    tenths=$((tenths + 1))
done
mmr killed.db --cache-dir cache
good killed
same killed killed.db plain

# Two at once: the second waits for nobody and harms nobody; one with another base shares the
# teacher's states.
"$program" convert "$demo" --layers 8 -o hybrid --quiet >/dev/null
mmr hybrid-plain.db --base hybrid
good "hybrid"
values hybrid-plain.db >hybrid-plain
"$program" mmr "$demo" --data rows.h5 --db long.db --device cpu --layers 10,11 --batch 2 --heldout 2 --steps 4 \
    --seeds 1000 --quiet --cache-dir cache >/dev/null 2>&1 &
other=$!
await_rows long.db steps
kill -STOP $other
mmr second.db --cache-dir cache --quiet
[ $code -eq 1 ] && sed 's/-[0-9a-f]\{16\}\./-N./' errors | grep -q '^apriel-tool: "cache/apriel-tool-inputs-N.h5" is in use by another run: wait until that has ended, or name another --cache-dir$' ||
    complain "two at once: exit code $code, $(cat errors)"
mmr hybrid.db --base hybrid --cache-dir cache
good "another base"
grep -q "$found" errors || complain "another base: $(cat errors)"
same "another base" hybrid.db hybrid-plain
kill -KILL $other
wait $other 2>/dev/null || true
other=
mmr second.db --cache-dir cache
good "the other gone"
same "the other gone" second.db plain
rm cache/*

# A file system whose files cannot be locked: the run works, keeps nothing, and says so.
for reason in 37 38 95; do
    ODD_REASON=$reason odd noflock "$program" mmr "$demo" --data rows.h5 --db unlocked$reason.db --device cpu \
        --layers 10,11 --batch 2 --heldout 2 --steps 4 --cache-dir cache >out 2>errors || complain "no flock: $?, $(cat errors)"
    same "no flock" unlocked$reason.db plain
    [ -z "$(ls cache)" ] || complain "no flock: leaves $(files)"
    [ "$(grep -c '^warning: "cache" is on a file system without locks (.*): the .* states there are not kept for other runs$' errors)" = 2 ] ||
        complain "no flock: $(cat errors)"
done

# Rounds keep nothing.
mmr rounds-plain.db --steps 20 --stop-when-stable 10 --group 1
good rounds
values rounds-plain.db >rounds-plain
mmr rounds.db --steps 20 --stop-when-stable 10 --group 1 --cache-dir cache
good "rounds with a cache"
same "rounds with a cache" rounds.db rounds-plain
[ -z "$(ls cache)" ] || complain "rounds leave $(ls cache)"
exit $bad
