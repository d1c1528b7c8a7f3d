#!/bin/sh
# Faults in every command: one failing call of the system, one failing allocation, or kill -9 at some
# moment; then that the exit status and the message are right, that nothing else is left, that what
# was there before still is, and that the same command gives the right result afterwards.
#
# usage: tests/faults/campaign.sh PROGRAM SOURCE [IO ALLOCATIONS KILLS [COMMAND...]]
#   how many faults of each sort in each command (default: 160 110 55, which takes half an hour or
#   so); the test suite runs a few. Needs the preload library tests/faults/faults.c, built beside the
#   program's tests. Not under sanitizers, whose own allocator cannot be preloaded over.
set -u
program=$(realpath "$1")
source=$(realpath "$2")
io=${3:-160} allocations=${4:-110} kills=${5:-55}
[ $# -lt 5 ] && set -- || shift 5
commands=${*:-inspect data plan scores chart convert generate eval loo mmr bench align distill}
library=$(dirname "$program")/tests/libfaults.so
make_scores=$(dirname "$program")/tests/make_scores
demo=$source/recipes/demo-model
[ -e "$library" ] || { echo "campaign: no \"$library\"" >&2; exit 2; }

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
trap 'exit 130' INT TERM
cd "$temporary" || exit 2
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 XDG_CACHE_HOME="$temporary/cache"

# What every run starts with.
mkdir fresh
cp "$source/recipes/gsm8k-excerpt.jsonl" fresh/x.jsonl
head -n 3 "$source/recipes/gsm8k-excerpt.jsonl" >fresh/few.jsonl
mkdir fresh/model
cp -L "$demo"/* fresh/model/
(
    cd fresh || exit 2
    "$make_scores" scores.db
    cat few.jsonl >few.txt # no prompts, whose tokens do not count
    "$program" data --quiet --tokenizer model -o rows.h5 --seq-len 32 --limit-tokens 96 few.txt >/dev/null
    [ "${commands%distill*}" = "$commands" ] ||
        "$program" convert --quiet model --layers 2 --kind m2 --format apriel2 -o start >/dev/null
    echo old >old.svg
    echo old >old.json
    echo old >old.h5
) || exit 2

tool() { LD_PRELOAD=${FAULT_LIBRARY-} "$program" "$@"; }

# The commands; each writes `result`, which is to be the same in every good run.
run_inspect() { tool inspect model >result; }
run_data() { tool data --tokenizer model -o old.h5 --force --seq-len 64 few.jsonl >/dev/null && cp old.h5 result; }
run_plan() { tool plan --db scores.db --run 1 --stages 1,3 -o old.json --force >/dev/null && cp old.json result; }
run_scores() { tool scores --db scores.db --run 1 --export sequences >result; }
run_chart() { tool chart --db scores.db --run 1 -o old.svg --force >/dev/null && cp old.svg result; }
run_convert() { tool convert model --layers 3 -o hybrid >/dev/null && cat hybrid/config.json hybrid/model.safetensors >result; }
run_generate() { tool generate model --prompt 'a b' --max-tokens 3 >result; }
run_eval() { tool eval model --data rows.h5 --db new.db --device cpu >/dev/null && export_values new.db; }
run_loo() { tool loo model --data rows.h5 --db new.db --layers 0-1 --device cpu >/dev/null && export_values new.db; }
run_mmr() { tool mmr model --data rows.h5 --db new.db --layers 2 --steps 2 --batch 1 --heldout 1 --device cpu >/dev/null && export_values new.db; }
run_bench() { tool bench model --layers 0 --output 8 --memory 20M --db new.db --device cpu >/dev/null && echo measured >result; }
run_align() { tool align model --data rows.h5 --db new.db --library kept --layers 2 --kind gdn --steps 2 --batch 1 --heldout 1 --device cpu >/dev/null && cat kept/*.safetensors >result; }
run_distill() { tool distill start --teacher model --data rows.h5 -o trained --steps 2 --batch 1 --heldout 1 --device cpu >/dev/null && cat trained/model.safetensors >result; }
# Read without faults: it is the run that counts.
export_values() { "$program" scores --db "$1" --export sequences >result; }

findings=0
finding() {
    echo "FINDING $command: $*" >&2
    findings=$((findings + 1))
}

begin() {
    cd "$temporary" || exit 2
    rm -rf work
    cp -R fresh work
    cd work || exit 2
}

# A run of $command in the directory as it is; faults by the variables of the preload.
attempt() {
    FAULT_TREE=$PWD FAULT_LIBRARY=$library timeout -k 5 120 sh -c "$prelude; run_$command" >/dev/null 2>../errors
}
# The functions for the shell that timeout runs.
prelude=$(sed -n '/^run_/p; /^tool()/p; /^export_values/p' "$source/tests/faults/campaign.sh")
export program

leftovers() {
    find . \( -name '.apriel-tool.*' -o -name '*.tmp-*' -o -name '.*.unfinished-*' \) | head -n 3
}

# After a fault that did not kill: $1 is the exit status, $2 says what was done.
judge() {
    case $1 in
    0) cmp -s result ../right/$command || finding "$2: exit status 0, another result" ;;
    1)
        [ "$(grep -c '^apriel-tool: ' ../errors)" -eq 1 ] || finding "$2: exit status 1, $(cat ../errors)"
        for old in old.h5 old.json old.svg; do
            [ -s $old ] || finding "$2: \"$old\" is gone"
        done
        ;;
    *) finding "$2: exit status $1, $(tail -n 2 ../errors)" ;;
    esac
    [ -z "$(leftovers)" ] || finding "$2: left $(leftovers)"
}

# The right results, and how many calls there are to fail.
mkdir right
io_ops='open read write fsync truncate rename make remove map lock'
count() { # OPS
    begin
    FAULT_OPS=$1 FAULT_AT=0 FAULT_COUNT=$temporary/count attempt || finding "without faults: $(cat ../errors)"
    cp result ../right/$command
    tail -n 1 ../count
}

total_io=0 total_allocations=0 total_kills=0
# sweep OPS ERRORS LIMIT: at most LIMIT faults, evenly over the calls; the errors take turns
sweep() {
    done=0
    calls=$(count "$1")
    [ "${calls:-0}" -gt 0 ] || return 0
    while [ $done -lt "$3" ] && [ $done -lt $((calls * $(echo "$2" | wc -w))) ]; do
        # shellcheck disable=SC2086 # words
        error=$(set -- $2; shift $((done % $#)); echo "$1")
        n=$((1 + (done * 7919 + done / calls) % calls))
        begin
        FAULT_OPS=$1 FAULT_AT=$n FAULT_ERROR=$error attempt
        judge $? "$error at call $n of $calls ($1)"
        done=$((done + 1))
    done
}

# Killed at a call, or after some time; then once more without faults.
kill_one() {
    begin
    if [ $(($1 % 2)) -eq 0 ]; then
        FAULT_OPS=$io_ops FAULT_AT=$((1 + $1 * 7919 % calls)) FAULT_ERROR=kill attempt
    else
        timeout -s KILL "$(awk -v n="$1" -v most="$seconds" 'BEGIN { srand(n); print most * rand() }')" \
            sh -c "$prelude; run_$command" >/dev/null 2>../errors
    fi
    sleep 0.1 # a killed process keeps its locks until it is gone
    timeout -k 5 120 sh -c "$prelude; [ -d hybrid ] && rm -rf hybrid; run_$command" >/dev/null 2>../errors ||
        finding "killed ($1), then again: exit status $?, $(tail -n 1 ../errors)"
    cmp -s result ../right/$command || finding "killed ($1), then again: another result"
    [ -z "$(leftovers)" ] || finding "killed ($1), then again: left $(leftovers)"
}

for command in $commands; do
    before=$findings
    sweep "$io_ops" '5 28 12 short 24 122' "$io"
    total_io=$((total_io + done))
    done_io=$done
    sweep malloc 12 "$allocations"
    total_allocations=$((total_allocations + done))
    done_allocations=$done
    calls=$(count "$io_ops")
    begin
    start=$(date +%s%N)
    attempt
    seconds=$(awk -v ns=$(($(date +%s%N) - start)) 'BEGIN { print ns / 1e9 }')
    k=0
    while [ $k -lt "$kills" ]; do
        kill_one $k
        k=$((k + 1))
    done
    total_kills=$((total_kills + k))
    echo "$command: $done_io I/O faults, $done_allocations failing allocations, $k kills; $((findings - before)) findings"
done
echo "in all: $total_io I/O faults, $total_allocations failing allocations, $total_kills kills; $findings findings"
[ $findings -eq 0 ]
