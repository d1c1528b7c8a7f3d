#!/bin/sh
# apriel-tool eval --task: tables, the database, continuing, and one line for everything that cannot
# be done.
. "$(dirname "$0")/common.sh"
always="eval --device cpu --quiet"

# Two tasks into a database; acc of the first agrees with tests/data/golden/choices.json.
"$program" eval "$demo" --device cpu --quiet --task "arc_easy=$samples/arc_easy.jsonl" \
    --task "mmlu=$samples/mmlu.jsonl" --shots 1 --db scores.db >first
grep -q '^arc_easy  *5  0.4000  *0.2449  *0.6000 ' first || complain "arc_easy: $(cat first)"
grep -q '^us_foreign_policy  *3 ' first || complain "mmlu has no line a subject: $(cat first)"
grep '^task ' first | tail -n 1 | grep -q 'acc_norm' && complain "mmlu has an acc_norm"
# The same again: found, with the same numbers.
"$program" eval "$demo" --device cpu --quiet --task "arc_easy=$samples/arc_easy.jsonl" \
    --shots 1 --db scores.db >second
[ "$(head -n 1 second)" = "run 1 was complete: nothing computed" ] || complain "$(head -n 1 second)"
[ "$(sed -n 2,3p second)" = "$(sed -n 2,3p first)" ] || complain "other numbers: $(cat second)"
# Without a shot it is another run.
"$program" eval "$demo" --device cpu --quiet --task "arc_easy=$samples/arc_easy.jsonl" \
    --db scores.db --json >third.json
grep -q '"run": 3' third.json || complain "--shots 0 is not another run: $(cat third.json)"
grep -q '"items": 6' third.json || complain "not all items: $(cat third.json)"

# A finished run without some of its items has no means.
cp scores.db less.db
sqlite3 less.db "DELETE FROM sequence_score WHERE run = 1 AND row = 2"
code=0
"$program" eval "$demo" --device cpu --quiet --task "arc_easy=$samples/arc_easy.jsonl" --shots 1 --db less.db >out 2>errors || code=$?
{ [ $code -eq 1 ] && [ "$(cat errors)" = 'apriel-tool: run 1 of "less.db" is finished, but 1 of its 5 items are missing: delete it (scores --delete 1) and run its command again' ]; } ||
    complain "a finished run without an item: $code, $(cat errors)"

# The list of runs, a run, its items and its choices.
"$program" scores --db scores.db | grep -q '^  1  eval  done  *20[0-9-]*  *[0-9.]* s  *0  *5  .*acc 0.4000' || complain "$("$program" scores --db scores.db)"
"$program" scores --db scores.db --run 2 >run
grep -q '^run 2: eval mmlu of ' run || complain "scores --run 2: $(cat run)"
grep -q '^us_foreign_policy  *3 ' run || complain "scores --run 2: $(cat run)"
grep -q '^all  *6 ' run || complain "scores --run 2: $(cat run)"
"$program" scores --db scores.db --run 2 --export items >items
[ "$(head -n 1 items)" = "run,row,category,gold,metric,value" ] || complain "$(head -n 1 items)"
[ "$(grep -c '^2,0,us_foreign_policy,' items)" -eq 4 ] || complain "items: $(cat items)"
"$program" scores --db scores.db --run 2 --export choices >choices
[ "$(head -n 1 choices)" = "run,row,choice,loglikelihood,tokens,characters,greedy" ] ||
    complain "$(head -n 1 choices)"
[ "$(wc -l <choices)" -eq 25 ] || complain "choices: $(wc -l <choices) lines"
# Runs of tasks rank no layers: plan and chart pass them over.
message=$("$program" plan --db scores.db 2>&1 || true)
[ "$message" = 'apriel-tool: "scores.db" has no finished run' ] || complain "plan: $message"

# An interrupted run continues: the items of the first group are there.
"$program" eval "$demo" --device cpu --quiet --task recall --lengths 32,64 --items 40 \
    --group-tokens 256 --db stop.db >out 2>errors &
job=$!
await_rows stop.db items
kill -INT $job
code=0
wait $job || code=$?
[ $code -eq 130 ] || complain "interrupted: exit code $code"
[ "$(cat errors)" = 'apriel-tool: interrupted; finished items are saved in "stop.db": run the same command to continue' ] ||
    complain "interrupted: $(cat errors)"
"$program" eval "$demo" --device cpu --task recall --lengths 32,64 --items 40 \
    --group-tokens 256 --db stop.db >rest 2>errors
grep -q '^run 1 continues: [0-9]* of 960 items are there$' errors || complain "continued: $(cat errors)"
"$program" eval "$demo" --device cpu --quiet --task recall --lengths 32,64 --items 40 >whole
[ "$(sed -n '3,$p' rest)" = "$(sed -n '3,$p' whole)" ] || complain "an interrupted run has other numbers"

# loo by task score: the trunk is what eval measures, and a layer's branch is the trunk of a base
# that lacks it.
"$program" loo "$demo" --device cpu --quiet --task recall --lengths 32 --items 6 --db scores.db >loo
grep -q '^run 4: 12 layers ablated (mixer) on 72 items, 2304 tokens, in ' loo || complain "$(head -n 1 loo)"
[ "$(wc -l <loo)" -eq 15 ] || complain "a table of $(wc -l <loo) lines"
"$program" eval "$demo" --device cpu --quiet --task recall --lengths 32 --items 6 --db scores.db >out
# value RUN LAYER METRIC: with all its digits
value() {
    "$program" scores --db scores.db --export csv --run "$1" |
        awk -F, -v layer="$2" -v metric="$3" '$2 == layer && $3 == metric { print $4 }'
}
for metric in acc acc_norm margin greedy; do
    [ -n "$(value 4 -1 $metric)" ] && [ "$(value 4 -1 $metric)" = "$(value 5 -1 $metric)" ] ||
        complain "$metric of the trunk: $(value 4 -1 $metric), eval has $(value 5 -1 $metric)"
done
"$program" plan --db scores.db --signal loo-task --stages 1 -o plan.json --quiet >out
first=$("$program" scores --db scores.db --run 4 | awk '$1 == 1 && NF >= 5 { print $2; exit }')
"$program" loo "$demo" --device cpu --quiet --task recall --lengths 32 --items 6 --db scores.db \
    --base plan.json --layers "$((first == 3 ? 4 : 3))" >out
for metric in acc margin; do
    awk -v trunk="$(value 4 -1 $metric)" -v drop="$(value 4 "$first" ${metric}_drop)" \
        -v base="$(value 6 -1 $metric)" \
        'BEGIN { exit !(base != "" && (trunk - drop - base) ^ 2 < 1e-10) }' ||
        complain "layer $first removed: $metric $(value 6 -1 $metric)"
done
"$program" loo "$demo" --device cpu --quiet --task recall --lengths 32 --items 6 --db scores.db |
    head -n 1 | grep -q '^run 4 was complete: nothing computed$' || complain "loo --task a second time"
"$program" scores --db scores.db --compare 4:acc_drop,4:margin_drop >out
grep -q "^4 (loo-task acc_drop), 4' (loo-task margin_drop)  *12 " out || complain "--compare: $(cat out)"
code=0
"$program" loo "$demo" --task recall --data a.h5 --db a.db 2>errors || code=$?
[ "$code $(cat errors)" = "2 apriel-tool: loo: --task goes without --data" ] || complain "$(cat errors)"

# Generated answers: a table, what was written, and the same again from the database.
"$program" eval "$demo" --device cpu --quiet --task "gsm8k=$samples/gsm8k.jsonl" --limit 4 --shots 1 \
    --samples 2 --temperature 0.8 --max-tokens 24 --db exact.db >out
grep -q 'gsm8k, 4 problems, 2 samples each, [0-9]* new tokens in ' out || complain "gsm8k: $(cat out)"
grep -q '^task  *problems  pass@1  *+-  answered  not_understood  finished  *tokens$' out || complain "gsm8k: $(cat out)"
"$program" eval "$demo" --device cpu --quiet --task "gsm8k=$samples/gsm8k.jsonl" --limit 4 --shots 1 \
    --samples 2 --temperature 0.8 --max-tokens 24 --db exact.db >again
[ "$(head -n 1 again)" = "run 1 was complete: nothing computed" ] || complain "gsm8k again: $(cat again)"
[ "$(tail -n 1 again)" = "$(tail -n 1 out)" ] || complain "gsm8k again: $(cat again)"
"$program" scores --db exact.db --run 1 | grep -q '^all  *4 ' || complain "scores of gsm8k"
"$program" scores --db exact.db --export answers >answers
[ "$(head -n 1 answers)" = "run,row,sample,correct,tokens,answer,text" ] || complain "$(head -n 1 answers)"
[ "$(grep -c '^1,[0-3],[01],[01],' answers)" -eq 8 ] || complain "answers: $(cat answers)"
printf '{%% for m in messages %%}<{{ m.role }}>{{ m.content }}{%% endfor %%}' >chat.jinja
fails 2 '--shots goes without a chat format' "$demo" --task "gsm8k=$samples/gsm8k.jsonl" --shots 1 --template chat.jinja
# The text of a template is part of what a run is.
chat() {
    "$program" eval "$demo" --device cpu --quiet --task "gsm8k=$samples/gsm8k.jsonl" --limit 2 \
        --max-tokens 3 --template chat.jinja --db chats.db | head -n 1
}
chat >/dev/null
[ "$(chat)" = "run 1 was complete: nothing computed" ] || complain "the same template"
printf '!' >>chat.jinja
[ "$(chat)" != "run 1 was complete: nothing computed" ] || complain "another template"
code=0
"$program" loo "$demo" --task "gsm8k=$samples/gsm8k.jsonl" --db a.db 2>errors || code=$?
grep -q '^apriel-tool: no task "gsm8k": there are recall, arc, ' errors || complain "loo --task gsm8k: $(cat errors)"

fails 2 'eval: --data or --task is needed' "$demo"
fails 2 'eval: give --data or --task, not both' "$demo" --data a.h5 --task recall
fails 2 'eval: --teacher goes with --data, not with --task' "$demo" --teacher "$demo" --task recall
fails 2 'eval: --rows goes with --data, not with --task' "$demo" --rows 3 --task recall
fails 2 '--task is NAME=FILE or recall, not "piqa"' "$demo" --task piqa
fails 2 '--task is NAME=FILE or recall, not "=a"' "$demo" --task =a
fails 2 '--task recall makes its own items: it takes no file' "$demo" --task recall=a
fails 2 'no task "lambada": there are recall, arc, arc_easy, arc_challenge, piqa, hellaswag, winogrande, mmlu, choice, gsm8k, math500, aime, amc' \
    "$demo" --task lambada=a
fails 1 'cannot open "absent.jsonl": No such file or directory' "$demo" --task piqa=absent.jsonl
fails 1 'cannot open "absent.jsonl": No such file or directory' \
    "$demo" --task "piqa=$samples/piqa.jsonl" --shots 1 --shots-from absent.jsonl
fails 2 '--lengths: "12" goes outside 32 to 1048576' "$demo" --task recall --lengths 12
fails 2 'recall: a length of 5000 tokens, but the model takes 1024; give shorter --lengths' \
    "$demo" --task recall --lengths 32,5000
fails 2 '--depths: "a" is not a list like 0,0.5,1' "$demo" --task recall --depths a
fails 2 'recall: a depth of 1.5 is outside 0 to 1' "$demo" --task recall --depths 0,1.5
echo '{"goal": "a", "sol1": "b", "sol2": "c", "label": 0' >cut.jsonl
fails 1 "\"cut.jsonl\": line 1: invalid JSON at column 50: '}' expected near end of file" "$demo" --task piqa=cut.jsonl
[ ! -e a.db ] || complain "a run that cannot start leaves a database"
exit $bad
