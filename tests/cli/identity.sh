#!/bin/sh
# What makes a run another run: for every option of loo, mmr and eval, two runs on one database that
# differ in it alone; for every option of plan and convert, how it stands in what they write.
. "$(dirname "$0")/common.sh"
export OMP_NUM_THREADS=2

# number_of FILE: the run of a --json document
number_of() {
    sed -n 's/^ *"run": \([0-9]*\),*$/\1/p' "$1" | head -n 1
}

# values DATABASE RUN: all that is stored, without the run's number
values() {
    for what in csv sequences; do
        "$program" scores --db "$1" --run "$2" --export $what
    done | cut -d, -f2-
}
# close FILE FILE: the same lines, but for the rounding of numbers
close() {
    paste -d, "$1" "$2" | awk -F, '{
        for (i = 1; i <= NF / 2; i++) {
            a = $i; b = $(i + NF / 2)
            if (a != b && !(a + 0 && (a - b) ^ 2 <= (1e-5 * a) ^ 2 + 1e-20)) exit 1
        }
    }'
}

# walk COMMAND DATABASE <TABLE: lines of an option, what is expected, and the words of the command
# line that is run. "base": the line that the others differ from; "new": a run that was not there;
# "same": the base's; "other": elsewhere in this test. Every option of the command has its line.
walk() {
    command=$1 database=$2
    cat >table
    "$program" "$command" --option-identity >options
    while read -r option state; do
        grep -q "^$option " table || complain "$command: --$option ($state) has no line here: how does it stand in the identity?"
        case "$state $(sed -n "s/^$option \([a-z]*\).*/\1/p" table)" in
        "no-number new" | "no-number other" | "resolved same" | "in-identity same")
            [ "$option" = device ] || complain "$command: --$option is $state, but not so here" ;;
        esac
    done <options
    last=0
    # shellcheck disable=SC2086 # words
    while read -r option expected words; do
        [ "$expected" != other ] || continue
        "$program" "$command" $words --db "$database" --json >found 2>errors || {
            complain "$command --$option: $(cat errors)"
            continue
        }
        run=$(number_of found)
        case $expected in
        base) base=$run plain=$words ;;
        new) [ "$run" -gt "$last" ] || complain "$command: --$option is taken for run $run" ;;
        same)
            [ "$run" = "$base" ] || complain "$command: --$option makes another run of $base: $run"
            grep -q '"\(rows\|layers\|items\|problems\)_found": [1-9]' found ||
                complain "$command: --$option computes again"
            # and what it computes by itself is the same: to the last bit, but that products of
            # another size (--group-tokens) round otherwise
            if [ "$words" != "$plain" ] && grep -qx "$option no-number" options; then
                rm -f alone.db
                "$program" "$command" $words --db alone.db --quiet >out
                values "$database" "$base" >expected.csv
                values alone.db 1 >found.csv
                cmp -s found.csv expected.csv ||
                    { [ "$option" = group-tokens ] && close found.csv expected.csv; } ||
                    complain "$command: --$option changes values"
            fi ;;
        esac
        [ "$run" -le "$last" ] || last=$run
    done <table
}

model=$models/qwen2-tied
rows='[1,5,9,13,2,7,3,11,4,6,8,10]
[3,1,4,1,5,9,2,6,5,3,5,8]
[2,7,1,8,2,8,1,8,2,8,4,5]
[1,4,1,4,2,1,3,5,6,2,3,7]'
echo "$rows" | "$tests/make_tokens" rows.h5 300
echo "$rows" | sed 's/13/14/' | "$tests/make_tokens" others.h5 300
"$program" convert "$model" --layers 1 -o hybrid --format apriel2 --quiet >out
"$program" loo "$model" --data rows.h5 --db base.db --device cpu --quiet >out
"$program" plan --db base.db --stages 1 -o plan.json --quiet >out
"$program" plan --db base.db --stages 1,2 -o more.json --quiet >out
mkdir states
"$program" align "$model" --data rows.h5 --db base.db --library library --kind m2 --steps 1 --batch 1 --heldout 1 \
    --device cpu --quiet >out
"$program" align "$model" --data rows.h5 --db base.db --library library --kind gdn --steps 1 --batch 1 --heldout 1 \
    --device cpu --quiet >out

L="$model --data rows.h5 --device cpu"
T="$demo --task recall --lengths 32 --items 1 --depths 0 --device cpu"
walk loo loo.db <<X
- base $L
data new $model --data others.h5 --device cpu
task new $T
samples new $L --estimate fisher --samples 2
estimate new $L --estimate cosine
ablate new $L --ablate block
layers new $L --layers 1
seed new $T --seed 1
shots other
shots-from other
limit other
no-special new $T --no-special
lengths new $demo --task recall --lengths 40 --items 1 --depths 0 --device cpu
depths new $demo --task recall --lengths 32 --items 1 --depths 1 --device cpu
items new $demo --task recall --lengths 32 --items 2 --depths 0 --device cpu
base new $L --base plan.json
hybrid new $L --base hybrid
library new $L --library library --kind m2
kind new $L --library library --kind gdn
random-weights new $L --random-weights 1
device same $model --data rows.h5 --device auto
group-tokens same $L --group-tokens 12
device-memory same $L --device-memory 1G
db same $L
run-file same $L --run-file number
json same $L
quiet same $L --quiet
threads same $L --threads 1
dry-run same $L
help same $L
special same $L
X

M="$model --kind m2 --data rows.h5 --device cpu --steps 2 --batch 1 --heldout 1 --layers 0"
walk mmr mmr.db <<X
- base $M
data new $model --data others.h5 --device cpu --steps 2 --batch 1 --heldout 1 --layers 0
steps new $M --steps 3
lr new $M --lr 0.002
batch new $M --batch 2
heldout new $M --heldout 2
seeds new $M --seeds 2
seed new $M --seed 1
layers new $M --layers 1
base new $M --base hybrid
library new $M --library library
keep same $M --keep kept
loss new $M --loss fkl
temperature new $M --temperature 2
train new $M --train layer
schedule new $M --schedule cosine
warmup new $M --warmup 1
clip new $M --clip 0.1
weight-decay new $M --weight-decay 0.1
beta1 new $M --beta1 0.8
beta2 new $M --beta2 0.9
epsilon new $M --epsilon 1e-6
stop-when-stable new $M --stop-when-stable 1
group new $M --stop-when-stable 1 --group 1
kind new $M --kind window:4
train-window new $M --kind window:4 --train-window
calibrate new $M --calibrate rows.h5
calibrate-tokens new $M --calibrate rows.h5 --calibrate-tokens 16
memory new $M --calibrate rows.h5 --memory set
scale new $M --calibrate rows.h5 --scale set
fit-out new $M --calibrate rows.h5 --fit-out
proj-bias new $M --kind mamba2 --proj-bias no
init new $M --init published
align new $M --align paper
conv-init new $M --conv-init random
dt-bias new $M --dt-bias twice
gate new $M --gate random
skip new $M --skip one
c-scale new $M --c-scale one
a-init new $M --a-init one
dt-range new $M --dt-range 0.01,0.1
qkv-bias new $M --qkv-bias drop
d-state new $M --d-state 8
groups new $M --kind gdn --groups 1
dt-rank new $M --dt-rank 5
d-conv new $M --d-conv 3
random-weights new $M --random-weights 1
device same $model --kind m2 --data rows.h5 --device auto --steps 2 --batch 1 --heldout 1 --layers 0
limit-steps same $M --limit-steps 9
together same $M --together 1
recompute same $M --recompute
cache-dir same $M --cache-dir states
device-memory same $M --device-memory 1G
db same $M
run-file same $M --run-file number
json same $M
quiet same $M --quiet
threads same $M --threads 1
dry-run same $M
help same $M
X

head -n 3 "$samples/arc_easy.jsonl" >arc.jsonl
sed -n 4,5p "$samples/arc_easy.jsonl" >shots.jsonl
cat >two.jsonl <<'X'
{"question": "Ann has 3 boxes with 2 pens each. How many pens has she?", "answer": "3 * 2 = 6\n#### 6"}
{"question": "There are 4 bags of 2 cups of flour. How many cups are there?", "answer": "4 * 2 = 8\n#### 8"}
X
A="$demo --task arc_easy=arc.jsonl --device cpu"
G="$demo --task gsm8k=two.jsonl --max-tokens 6 --device cpu"
S="$G --temperature 1"
for name in one two; do
    echo "{% for m in messages %}$name {{ m.role }}: {{ m.content }} {% endfor %}" >$name.jinja
done
cp -r "$demo" chats
chmod -R u+w chats
echo "{% for m in messages %}{{ m.content }}{% endfor %}" >chats/chat_template.jinja
D="$model --data rows.h5 --device cpu"
walk eval eval.db <<X
- base $A
task new $demo --task choice=arc.jsonl --device cpu
shots new $A --shots 1
shots-from new $A --shots 1 --shots-from shots.jsonl
limit new $A --limit 2
no-special new $A --no-special
lengths new $demo --task recall --lengths 40 --items 1 --depths 0 --device cpu
depths new $demo --task recall --lengths 40 --items 1 --depths 1 --device cpu
items new $demo --task recall --lengths 40 --items 2 --depths 1 --device cpu
seed new $demo --task recall --lengths 40 --items 2 --depths 1 --device cpu --seed 1
random-weights new $A --random-weights 1
device same $demo --task arc_easy=arc.jsonl --device auto
group-tokens same $A --group-tokens 64
db same $A
json same $A
quiet same $A --quiet
threads same $A --threads 1
dry-run same $A
help same $A
special same $A --special
answers base $G
samples new $S --samples 2
max-tokens new $demo --task gsm8k=two.jsonl --max-tokens 7 --device cpu
temperature new $S
top-p new $S --top-p 0.5
top-k new $S --top-k 3
draws new $S --seed 1
template new $G --template one.jinja
words new $G --template two.jinja
chat new chats --task gsm8k=two.jsonl --max-tokens 6 --device cpu --chat
batch same $G --batch 1
rows base $D
data new $model --data others.h5 --device cpu
rows new $D --rows 2
teacher new $D --teacher hybrid
base new hybrid --data rows.h5 --device cpu
plan new $D --plan more.json --library library --kind m2
stage new $D --plan more.json --library library --kind m2 --stage 1
kind new $D --plan plan.json --library library --kind gdn
library other
random-weights new $D --random-weights 1
group-tokens same $D --group-tokens 12
device-memory same $D --device-memory 1G
X

# plan and convert: what they write says what it was made of, so that nothing else is mistaken for it.
for command in plan convert; do
    "$program" $command --option-identity >options
    while read -r option state; do
        [ "$state" = resolved ] || [ "$state" = no-number ] || [ "$command $option" = "plan unfinished" ] ||
            complain "$command: --$option is $state: does the file say so? See this test"
    done <options
done
# written OPTION EXPECTED WORDS...: provenance of a hybrid made with these words, "new" or "same" as
# that without, but for the path
written() {
    option=$1 expected=$2
    shift 2
    rm -rf h
    "$program" convert "$model" --layers 1 --format apriel2 -o h --quiet "$@" >out || complain "convert $*"
    if cmp -s h/apriel-tool.json hybrid/apriel-tool.json; then found=same; else found=new; fi
    [ $found = "$expected" ] || complain "convert --$option: provenance is $found"
}
written seed new --seed 1
written d-state new --d-state 8
written groups new --kind gdn --groups 1
written dt-rank new --dt-rank 5
written d-conv new --d-conv 3
written init new --init published
written kind new --kind window:4
for choice in 'align paper' 'conv-init random' 'dt-bias twice' 'gate random' 'skip one' 'c-scale one' \
    'a-init one' 'dt-range 0.01,0.1' 'qkv-bias drop'; do
    written "${choice% *}" new "--${choice% *}" "${choice#* }"
done
written library new --library library --kind m2
written calibrate new --calibrate rows.h5
written memory new --calibrate rows.h5 --memory set
written scale new --calibrate rows.h5 --scale set
written fit-out new --calibrate rows.h5 --fit-out
written device same --device cpu
written random-weights new --random-weights 1
written max-shard-size same --max-shard-size 1M
rm -rf h
"$program" convert "$model" --layers 0-1 --from hybrid -o h --quiet >out
grep -q '"from": {' h/apriel-tool.json || complain "convert --from: $(cat h/apriel-tool.json)"
# choices OPTION WORDS...: another plan
choices() {
    option=$1
    shift
    rm -f p.json
    "$program" plan --db base.db -o p.json --quiet "$@" >out || complain "plan $*"
    ! cmp -s p.json plan.json || complain "plan --$option: the same plan.json"
}
"$program" loo "$model" --data others.h5 --db base.db --device cpu --quiet >out
choices run --run 2 --stages 1
choices metric --run 1 --metric rkl --stages 1
choices stages --run 1 --stages 1,2
choices keep --run 1 --stages 1 --keep first
choices unfinished --run 1 --stages 1 --unfinished
grep -q '"options": {"unfinished": true}' p.json || complain "plan --unfinished: $(cat p.json)"
"$program" plan --plan p.json --json | grep -q '"options": {"unfinished": true}' ||
    complain "a plan that is read loses its options"

# Every kind of signal gives a plan of its own, which names kind and run; --run N is --signal's.
"$program" loo "$model" --data rows.h5 --db signals.db --device cpu --quiet >out
for estimate in fisher first-order cosine; do
    "$program" loo "$model" --data rows.h5 --db signals.db --device cpu --estimate $estimate --quiet >out
done
# shellcheck disable=SC2086 # words
"$program" mmr $M --layers 0-2 --db signals.db --quiet >out
run=0
for signal in loo estimate-fisher estimate-first-order estimate-cosine mmr; do
    run=$((run + 1))
    "$program" plan --db signals.db --signal $signal --stages 1,2 -o $signal.json --quiet >out
    "$program" plan --db signals.db --run $run --stages 1,2 -o run.json --force --quiet >out
    cmp run.json $signal.json || complain "plan --signal $signal: not --run $run"
    grep -q "\"run\": $run, \"kind\": \"$signal\"" $signal.json || complain "plan --signal $signal: $(cat $signal.json)"
done
"$program" plan --db signals.db --signal loo --signal mmr@1 --stages 1,2 -o both.json --quiet >out 2>&1
[ "$(sha256sum loo.json estimate-*.json mmr.json both.json | cut -c1-64 | sort -u | wc -l)" = 6 ] ||
    complain "two signals give one plan"
# --plan keeps the plan; its --format and --stage give texts that all differ, and what enters a format
# changes it.
"$program" plan --plan both.json -o same.json --quiet >out
cmp same.json both.json || complain "plan --plan: another plan"
for format in hf fast-llm surgery csv; do
    "$program" plan --plan both.json --format $format >$format.text
    "$program" plan --plan both.json --format $format -o $format.file --quiet >out
    cmp $format.text $format.file || complain "plan --format $format: -o writes another text"
    [ $format = csv ] || {
        "$program" plan --plan both.json --format $format --stage 2 | cmp - $format.text || complain "plan --format $format: the last stage is another"
        "$program" plan --plan both.json --format $format --stage 1 >$format.first.text
    }
done
# Fast-LLM's mixers have one switch for all their biases: --gate or --qkv-bias turn it only together.
for choice in "fast-llm d-state 8" "fast-llm dt-rank 5" "fast-llm d-conv 3" "fast-llm gate random --qkv-bias drop" \
    "fast-llm dt-range 0.01,0.1" "surgery d-state 8" "surgery dt-rank 5" "surgery d-conv 3" \
    "surgery dt-range 0.01,0.1"; do
    # shellcheck disable=SC2086 # words
    set -- $choice
    name=$1.$2.text format=$1 option=$2
    shift 2
    "$program" plan --plan both.json --format "$format" "--$option" "$@" >"$name" || complain "plan --format $choice"
done
[ "$(sha256sum ./*.text | cut -c1-64 | sort -u | wc -l)" = "$(find . -name '*.text' | wc -l)" ] ||
    complain "two formats or choices give one text: $(sha256sum ./*.text | sort | uniq -w 64 -D)"
# What a format does not take is not ignored.
for choice in "hf d-state 8" "csv gate random" "surgery gate random" "surgery qkv-bias drop" "fast-llm align paper" "hf skip one"; do
    # shellcheck disable=SC2086 # words
    set -- $choice
    ! "$program" plan --plan both.json --format "$1" "--$2" "$3" >out 2>errors || complain "plan --format $1 ignores --$2"
done
# convert: --stage, --plan and --format
"$program" convert "$model" --plan both.json --stage 1 -o first --quiet >out
"$program" convert "$model" --plan both.json -o last --quiet >out
"$program" convert "$model" --plan both.json --stage 2 -o second --quiet >out
"$program" convert "$model" --kind m2 --plan loo.json -o other --quiet >out
cmp last/apriel-tool.json second/apriel-tool.json || complain "convert --stage: the last is not 2"
layers=$(tr -d ' \n' <last/apriel-tool.json | sed 's/.*"replaced_layers":{"m2":\[\([0-9,]*\)\].*/\1/')
"$program" convert "$model" --kind m2 --layers "$layers" -o named --quiet >out
cmp named/model.safetensors last/model.safetensors || complain "convert --layers: other weights than of the plan"
"$program" convert "$demo" --kind m2 --layers 1 -o h1 --quiet >out
"$program" convert "$demo" --layers 1 --format apriel-h1 -o h1-named --quiet >out
"$program" convert "$demo" --layers 1 --format apriel2 -o a2 --quiet >out
cmp h1/apriel-tool.json h1-named/apriel-tool.json || complain "convert --format: its default is another"
[ "$(sha256sum first/apriel-tool.json last/apriel-tool.json other/apriel-tool.json named/apriel-tool.json h1/apriel-tool.json a2/apriel-tool.json | cut -c1-64 | sort -u | wc -l)" = 6 ] ||
    complain "convert: --plan, --stage, --layers or --format is not in the provenance"

exit $bad
