#!/bin/sh
# apriel-tool scores on a database made for the purpose (tests/make_scores.c).
. "$(dirname "$0")/common.sh"
always=scores

"$tests/make_scores" scores.db

# DATE and TIME of what the clock says
timeless() { sed 's/20[0-9][0-9]-[0-9-]*\(T[0-9:]*Z\)*/DATE/; s/ [0-9.]* s\>/ TIME/'; }

"$program" scores --db scores.db | timeless >list.found
cat >list.expected <<'X'
data: tokens.h5

run  kind  status       date         time  layers  rows  what differs
  1  loo   done         DATE  TIME       8     6  model-a
  2  mmr   done         DATE  TIME       6     6  model-a, base 2
                                                         replaced, ablate mixer,
                                                         seed 7
  3  loo   interrupted  DATE  TIME       8     2  model-a, seed 7
  4  loo   done         DATE  TIME       8     6  model-b, seed 7
X
same list

"$program" scores --db scores.db --run 1 | timeless >run.found
cat >run.expected <<'X'
run 1: loo of model-a on tokens.h5
done, 8 layers, 6 rows; begun DATE, time TIME
device cpu, seed 0, parameters {"ablate":"mixer"}
unmodified model: ce 2.50000 over 1 row
a small value is unimportant for kl

rank  layer       kl   stderr  tie group
   1      3  0.13305  0.00640          1
   2      5  0.13462  0.00700          1
   3      6  0.33305  0.00640          2
   4      4  0.43362  0.00700          3
   5      2  0.53305  0.00640          4
   6      1  0.63362  0.00700          5
   7      0  0.93362  0.00700          6
   8      7  0.93405  0.00640          6
X
same run

# A run that is not finished: what it has so far, here by layer.
"$program" scores --db scores.db --run 3 --sort layer | timeless | awk '/so far/ || $2 == 0 || $2 == 7' >partial.found
cat >partial.expected <<'X'
interrupted, 8 layers, 2 rows so far; begun DATE, time TIME
   7      0  0.90733  0.00622          6
   8      7  0.90700  0.00267          6
X
sed -i 's/^ *[0-9]* //' partial.found partial.expected
same partial

"$program" scores --db scores.db --compare 1,2 | sed -n '1,2p;$p' >compare.found
cat >compare.expected <<'X'
runs                                   layers  Spearman  Kendall
1 (loo kl), 2 (mmr heldout_rkl_after)       6    1.0000   1.0000
6  1.0000
X
same compare

# The same with the metrics named; a run against itself.
"$program" scores --db scores.db --compare 1:kl,2:heldout_rkl_after | sed -n '1,2p;$p' >compare.found
same compare
"$program" scores --db scores.db --compare 1,1:kl | sed -n '2p' >itself.found
echo "1 (loo kl), 1' (loo kl)       8    1.0000   1.0000" >itself.expected
same itself

"$program" scores --db scores.db --export csv --run 2 | head -n 2 >csv.found
cat >csv.expected <<'X'
run,layer,metric,value,stderr,n
2,0,heldout_rkl_after,0.9336190476190477,0.007002145382130321,6
X
same csv
[ "$("$program" scores --db scores.db --export steps | tail -n 1)" = "2,4,7,2,0.3333333333333333" ] ||
    complain "--export steps"
[ "$("$program" scores --db scores.db --export sequences | wc -l)" -eq 151 ] ||
    complain "--export sequences: $("$program" scores --db scores.db --export sequences | wc -l) lines"

for arguments in "" "--run 1" "--compare 1,2,3"; do
    # shellcheck disable=SC2086 # separate words
    "$program" scores --db scores.db --json $arguments >out
    first=$(head -c 1 out)
    [ "$first" = "{" ] || complain "--json $arguments begins with $first"
done
"$program" scores --db scores.db --json --run 1 >out
grep -q '"tie_group": 6' out || complain "--json --run 1"
tr -d ' \n' <out | grep -q '"unmodified":\[{"metric":"ce","value":2.5,"stderr":null,"n":1}\]' || complain "--json --run 1: the unmodified model"
"$program" scores --db scores.db --json --run 2 | grep -q '"base": "tttmtmtt"' || complain "--json: base"

fails 2 'scores: --db FILE is missing'
fails 2 'scores: takes no argument; give the database as --db' scores.db
fails 1 'cannot open "absent.db": No such file or directory' --db absent.db
fails 1 '"scores.db" has no run 9' --db scores.db --run 9
fails 2 'scores: --run: "x" is not the number of a run, nor last' --db scores.db --run x
fails 2 'scores: --compare needs two runs or more, as in 1,2' --db scores.db --compare 1
fails 2 'scores: --compare: "" is not the number of a run, nor last' --db scores.db --compare 1,
fails 2 'scores: --compare: "2:" names no metric' --db scores.db --compare 1,2:
fails 2 'scores: --compare needs two runs or more, as in 1,2' --db scores.db --compare 1,1
fails 2 'scores: --run: "3-1" is not the number of a run, nor last' --db scores.db --run 3-1
fails 1 'run 2 (mmr) has no metric "kl"; it has: heldout_rkl_after' --db scores.db --compare 1,2:kl
fails 1 'run 1 (loo) has no metric "top1"; it has: kl' --db scores.db --run 1 --metric top1
fails 2 'scores: --sort must be rank or layer, not "value"' --db scores.db --sort value --run 1
fails 2 'scores: 3 metrics for 2 runs; give one, or one a run' --db scores.db --compare 1,2 --metric a,b,c
fails 1 'runs 1 and 4 score different models ("model-a" and "model-b")' --db scores.db --compare 1,4
fails 2 'scores: --export must be csv, sequences, steps, curve, heldout, items, choices, answers, runs or bench, not "xml"' --db scores.db --export xml
fails 2 'scores: --export is CSV, not JSON: leave --json out' --db scores.db --export csv --json
fails 2 'scores: --export takes no --compare' --db scores.db --export csv --compare 1,2
fails 2 'scores: --note needs a text, as in --note 3 "with the new data"; "" takes the note away' --db scores.db --note 1
fails 2 'scores: --delete goes with --db alone' --db scores.db --delete 1 --run 2
fails 2 'scores: --note goes with --db alone' --db scores.db --note 1 text --json
fails 2 'scores: --delete takes one run, not "1-3"' --db scores.db --delete 1-3
fails 2 'scores: --delete bench: needs a number' --db scores.db --delete bench:last
fails 1 '"scores.db" has no run 9' --db scores.db --delete 9
fails 1 '"scores.db" has no run 9' --db scores.db --note 9 text
fails 1 '"scores.db" has no throughput series 1' --db scores.db --delete bench:1
fails 1 '"scores.db" has no plan 1' --db scores.db --delete plan:1
fails 1 'cannot open "absent.db": No such file or directory' --db absent.db --delete 1
fails 1 'cannot open "absent.db": No such file or directory' --db absent.db --note 1 text
echo 'no database' >text.db
fails 1 '"text.db" is not a score database (not SQLite)' --db text.db
: >empty.db
fails 1 '"empty.db" is empty, not a score database' --db empty.db
head -c 9000 scores.db >cut.db
set +e
"$program" scores --db cut.db --run 1 >out 2>errors
code=$?
set -e
if [ $code -ne 1 ] || [ "$(wc -l <errors)" -ne 1 ]; then
    complain "a truncated database: $code, $(cat errors)"
fi

# The run that was begun last, in every command that takes one.
"$program" scores --db scores.db --run 4 >4.expected
"$program" scores --db scores.db --run last >4.found
same 4
"$program" scores --db scores.db --compare 1,last:kl >/dev/null 2>errors && complain "1,last: other models"
grep -q '^apriel-tool: runs 1 and 4 score different models' errors || complain "1,last: $(cat errors)"
"$program" plan --db scores.db --run last --stages 2 | head -n 1 | grep -q 'plan for model-b' || complain "plan --run last"
"$program" chart --db scores.db --run last -o last.svg >/dev/null || complain "chart --run last"
grep -q model-b last.svg || complain "chart --run last: another run"

# Notes, on one line whatever they hold; deletion, but not of what a recorded plan was made from.
cp scores.db edit.db
[ "$("$program" scores --db edit.db --note last "after the
fix")" = 'run 4: "after the\nfix"' ] || complain "--note"
"$program" scores --db edit.db | grep -q '4  loo .*model-b, seed 7' || complain "a note in the list"
"$program" scores --db edit.db | tr -s ' \n' '  ' | grep -q '"after the\\nfix" $' || complain "a note in the list"
"$program" scores --db edit.db --json | grep -q '"note": "after the\\nfix"' || complain "a note in JSON"
"$program" scores --db edit.db --export runs | grep -q 'after the' || complain "a note in CSV"
"$program" scores --db edit.db --note 4 "" >/dev/null
"$program" scores --db edit.db --json | grep -q '"note": "' && complain "a note that was taken away"
"$program" plan --db edit.db --run 1 --stages 2 -o plan.json >/dev/null
code=0
"$program" scores --db edit.db --delete 1 >out 2>errors || code=$?
{ [ $code -eq 1 ] && grep -q '^apriel-tool: plan 1 of 20.* was made from run 1, which therefore stays; scores --delete plan:1 deletes the plan.s record$' errors; } ||
    complain "--delete of what a plan was made from: $code, $(cat errors)"
[ "$("$program" scores --db edit.db --delete 2)" = "deleted run 2" ] || complain "--delete 2"
[ "$("$program" scores --db edit.db --delete plan:1)" = "deleted plan 1" ] || complain "--delete plan:1"
[ "$("$program" scores --db edit.db --delete 1)" = "deleted run 1" ] || complain "--delete 1"
[ "$(sqlite3 edit.db "SELECT group_concat(id) FROM run; SELECT count(*) FROM (SELECT run FROM score UNION ALL
    SELECT run FROM sequence_score UNION ALL SELECT run FROM probe_step) WHERE run < 3; PRAGMA foreign_key_check" | tr '\n' ' ')" = "3,4 0 " ] ||
    complain "--delete leaves something"

# Nothing that a terminal of 80 columns has to break.
[ "$("$program" scores --db scores.db | wc -L)" -le 80 ] || complain "the list is wider than 80 columns"

if [ -e /dev/full ]; then
    set +e
    "$program" scores --db scores.db >/dev/full 2>errors
    code=$?
    set -e
    [ $code -eq 1 ] || complain "a full disk under stdout: exit code $code"
    [ "$(cat errors)" = "apriel-tool: cannot write to standard output: No space left on device" ] ||
        complain "a full disk under stdout: $(cat errors)"
fi
exit $bad
