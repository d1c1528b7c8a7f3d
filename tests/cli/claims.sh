#!/bin/sh
# A run that a database calls done and that lacks rows, layers, steps or items of it, because somebody
# has changed the database by hand: one line wherever it is read, and no mean of what is left.
. "$(dirname "$0")/common.sh"
rows=$source/tests/data/tiny.h5
here="--device cpu --quiet"
loo() { "$program" loo "$demo" --data "$rows" --layers 2,5 --db "$1" $here; }
estimate() { "$program" loo "$demo" --data "$rows" --layers 2,5 --estimate cosine --db "$1" $here; }
mmr() { "$program" mmr "$demo" --data "$rows" --layers 2,5 --steps 2 --batch 1 --heldout 2 --db "$1" $here; }
task() { "$program" loo "$demo" --task recall --lengths 32 --limit 3 --layers 2 --db "$1" $here; }
eval_task() { "$program" eval "$demo" --task recall --lengths 32 --limit 3 --db "$1" $here; }
for command in loo estimate mmr task eval_task; do
    $command whole.db >out 2>errors || complain "$command: $(cat errors)"
done
for run in 1 2 3 4 5; do "$program" scores --db whole.db --run $run >out 2>errors || complain "run $run: $(cat errors)"; done

# found RUN WHAT COMMAND...: with the database less.db
found() {
    run=$1 what=$2
    shift 2
    code=0
    "$@" >out 2>errors || code=$?
    message="apriel-tool: run $run of \"less.db\" is finished, but $what: delete it (scores --delete $run) and run its command again"
    { [ $code -eq 1 ] && [ "$(cat errors)" = "$message" ]; } ||
        complain "$sql: $*: exit code $code, $(cat errors)"
}
# lacks RUN WHAT SQL
read=
lacks() {
    sql=$3
    cp whole.db less.db
    sqlite3 less.db "$sql"
    found "$1" "$2" "$program" scores --db less.db --run "$1"
    case $1 in
    1) command=loo ;;
    2) command=estimate ;;
    3) command=mmr ;;
    4) command=task ;;
    5) command=eval_task ;;
    esac
    found "$1" "$2" $command less.db
    case $read in *" $1 "*) return ;; esac
    read="$read $1 "
    found "$1" "$2" "$program" scores --db less.db --export sequences --run "$1"
    [ "$1" -le 3 ] || return 0
    found "$1" "$2" "$program" plan --db less.db --run "$1" --stages 1
    found "$1" "$2" "$program" chart --db less.db --run "$1" -o less.svg
    [ ! -e less.svg ] && [ ! -e less.dat ] || complain "$sql: a chart is left"
}
lacks 1 '1 of its 8 rows are missing' 'DELETE FROM sequence_score WHERE run = 1 AND row = 0'
lacks 1 '2 of its 8 rows are missing' 'DELETE FROM sequence_score WHERE run = 1 AND row IN (3, 7)'
lacks 1 '1 of its 8 rows are missing' "DELETE FROM sequence_score WHERE run = 1 AND row = 4 AND layer = 5 AND metric = 'kl'"
lacks 1 '8 of its 8 rows are missing' 'DELETE FROM sequence_score WHERE run = 1 AND layer = 2'
lacks 1 'some of its values have no score' 'DELETE FROM score WHERE run = 1 AND layer = 2'
lacks 1 '1 of its 2 layers are missing' 'DELETE FROM score WHERE run = 1 AND layer = 2; DELETE FROM sequence_score WHERE run = 1 AND layer = 2'
# interrupted, then called done
lacks 1 'some of its values have no score' 'DELETE FROM score WHERE run = 1; DELETE FROM sequence_score WHERE run = 1 AND row > 3'
lacks 2 '1 of its 8 rows are missing' 'DELETE FROM sequence_score WHERE run = 2 AND row = 0'
lacks 3 '1 of its 2 rows are missing' 'DELETE FROM sequence_score WHERE run = 3 AND row = 7'
lacks 3 '1 of its 2 layers are missing' 'DELETE FROM score WHERE run = 3 AND layer = 5; DELETE FROM sequence_score WHERE run = 3 AND layer = 5'
lacks 3 '1 of the steps of layer 5 are missing' 'DELETE FROM probe_step WHERE run = 3 AND layer = 5 AND step = 0'
items=$(sqlite3 whole.db 'SELECT count(*) FROM item WHERE run = 4')
lacks 4 "1 of its $items items are missing" 'DELETE FROM sequence_score WHERE run = 4 AND row = 0'
lacks 4 "1 of its $items items are missing" 'DELETE FROM item WHERE run = 4 AND row = 0'
lacks 5 "1 of its $items items are missing" 'DELETE FROM sequence_score WHERE run = 5 AND row = 0'
lacks 5 "1 of its $items items' choices are missing" 'DELETE FROM choice WHERE run = 5 AND row = 0'

# What is not called done goes on from what it has, and a deleted run is computed again.
cp whole.db less.db
sqlite3 less.db "DELETE FROM score WHERE run = 1; DELETE FROM sequence_score WHERE run = 1 AND row = 0;
    UPDATE run SET status = 'interrupted' WHERE id = 1"
loo less.db >out 2>errors || complain "an interrupted run: $(cat errors)"
"$program" scores --db less.db --run 1 --export sequences >again.csv
"$program" scores --db whole.db --run 1 --export sequences >whole.csv
cmp again.csv whole.csv || complain "other values"
"$program" scores --db less.db >out 2>errors || complain "the list of runs: $(cat errors)"
exit $bad
