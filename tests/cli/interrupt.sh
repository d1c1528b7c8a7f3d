#!/bin/sh
# Ctrl-C and SIGTERM end every command within two seconds, also in the middle of its largest unit of
# work and in a pipe that nobody writes to; progress shows from the first second on.
. "$(dirname "$0")/common.sh"

"$program" data --tokenizer "$demo" -o rows.h5 --seq-len 256 --quiet "$source/recipes/gsm8k-excerpt.jsonl" >/dev/null

# stops SIGNAL SECONDS ARGUMENTS...: after so many seconds of work, one signal ends it within two more
# with exit code 130; errors has what it said.
stops() {
    signal=$1 after=$2
    shift 2
    code=0
    "$program" "$@" --device cpu >out 2>errors &
    child=$!
    sleep "$after"
    kill -s "$signal" $child 2>/dev/null || complain "$*: was over before the signal: $(cat out errors)"
    start=$(date +%s%N)
    wait $child || code=$?
    took=$((($(date +%s%N) - start) / 1000000))
    [ $code -eq 130 ] || complain "$*: exit code $code: $(cat errors)"
    [ $took -lt 2000 ] || complain "$*: ended $took ms after the signal"
    tail -n 1 errors | grep -q '^apriel-tool: interrupted' || complain "$*: $(cat errors)"
}

# All rows in one group: minutes of work with nothing to save on the way.
stops INT 2 loo "$demo" --data rows.h5 --db a.db --group-tokens 30000
grep -q '^loo: 0/87 rows, layer [0-9]*, [0-9.]* rows/s, [0-9ms]* left$' errors || complain "loo: no progress: $(cat errors)"
grep -q '^interrupt: finishing what is under way, again to stop now$' errors || complain "loo: $(cat errors)"
stops TERM 0.8 loo "$demo" --data rows.h5 --db b.db --group-tokens 30000 --quiet
[ "$(wc -l <errors)" = 1 ] || complain "loo --quiet: $(cat errors)"
stops INT 0.8 loo "$demo" --data rows.h5 --db c.db --group-tokens 30000 --estimate fisher --samples 40 --quiet
stops INT 0.8 loo "$demo" --task recall --lengths 512 --items 60 --db d.db --quiet
stops INT 2 mmr "$demo" --data rows.h5 --db e.db --batch 8 --heldout 8
grep -Eq '^mmr: [0-9]*/1200 steps, ((layer [0-9]*, rkl [0-9.e-]*|inputs of layer [0-9]*|scores), )?[0-9.]* ' errors || complain "mmr: no progress: $(cat errors)"
stops TERM 0.8 eval "$demo" --task recall --lengths 512 --items 200 --quiet
stops INT 0.8 bench "$demo" --batch 64 --prompt 512 --output 64 --quiet
awk 'BEGIN { for (i = 0; i < 400; i++) print "{\"prompt\": \"" i "\"}" }' >prompts.jsonl
stops INT 0.8 generate "$demo" --prompts prompts.jsonl --max-tokens 900 --quiet


# What must be a file is refused by name when it is a pipe or a device, and nothing waits.
mkfifo pipe
for name in config.json model.safetensors tokenizer.json chat_template.jinja; do
    rm -rf model
    cp -rL "$demo" model
    rm -f model/$name
    mkfifo model/$name
    case $name in
    chat_template.jinja) set -- convert model --layers 3 -o other ;;
    tokenizer.json) set -- data --tokenizer model -o new.h5 "$source/recipes/gsm8k-excerpt.jsonl" ;;
    *) set -- inspect model ;;
    esac
    code=0
    timeout 5 "$program" "$@" >out 2>errors || code=$?
    [ $code -eq 1 ] || complain "$name is a pipe: exit code $code: $(cat errors)"
    grep -q "$name\" is \(a pipe, not a file\|not a regular file\)" errors || complain "$name is a pipe: $(cat errors)"
    [ ! -e other ] && [ ! -e new.h5 ] || complain "$name is a pipe: an output is left"
done
ends 1 '"pipe" is not a file' eval "$demo" --data pipe
ends 1 '"/dev/zero" is not a file' eval "$demo" --data /dev/zero
code=0
timeout 5 "$program" scores --db pipe >out 2>errors || code=$?
[ $code -eq 1 ] || complain "a pipe as a database: exit code $code: $(cat errors)"

# Data may come through pipes: one that nobody writes to can be left.
for signal in TERM INT; do
    stops $signal 0.5 eval "$demo" --task gsm8k=pipe
    code=0
    "$program" data --tokenizer "$demo" -o new.h5 --format lines pipe >out 2>errors &
    child=$!
    sleep 0.5
    kill -s $signal $child
    wait $child || code=$?
    [ $code -eq 130 ] || complain "data from a pipe: exit code $code: $(cat errors)"
    [ ! -e new.h5 ] || complain "data from a pipe: an output is left"
done
exit $bad
