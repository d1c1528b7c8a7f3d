#!/bin/sh
# Values of another question are never taken for this one: weights, end tokens, tokenizers, tasks;
# and what older releases left is named, and not used.
. "$(dirname "$0")/common.sh"
export XDG_CACHE_HOME="$temporary/cache"
older=$source/tests/data/older

# Weights that changed between the samples of the older fingerprint. The right values of `after` are
# those of transformers in float64.
cp -r "$older/before" before
cp -r "$older/before" after
chmod -R u+w before after
cp "$older/rows.h5" .
dd if="$older/after.bytes" of=after/model.safetensors bs=1 seek=6144 conv=notrunc 2>errors
loo="--data rows.h5 --db s.db --layers 0 --device cpu --quiet"
# shellcheck disable=SC2086 # words
{
    "$program" loo before $loo >first
    "$program" loo after $loo >second
}
grep -q '^unmodified model: ce 9.8905$' first || complain "before: $(cat first)"
grep -q '^unmodified model: ce 9.2271$' second || complain "after: $(cat second)"
grep -q '^    0 .* 2.595212 ' second || complain "after: $(cat second)"
mkdir c
mmr="--kind m2 --data rows.h5 --cache-dir c --layers 0 --steps 2 --batch 1 --heldout 1 --device cpu --quiet"
# shellcheck disable=SC2086 # words
{
    "$program" mmr before $mmr --db a.db >first
    "$program" mmr after $mmr --db b.db >second
}
grep -q '^    0 .* 1.541338  *1.552354 ' second || complain "mmr --cache-dir of after: $(cat second)"
[ "$(find c -name 'apriel-tool-teacher-*' | wc -l)" -eq 2 ] || complain "two teachers, $(ls c)"
# A byte here or there, under the modification time that the file had.
for at in 9 6200 40000 131071 200000 331023; do
    cp before/model.safetensors m
    touch -r before/model.safetensors stamp
    printf '\277' | dd of=before/model.safetensors bs=1 seek=$at conv=notrunc 2>errors
    touch -r stamp before/model.safetensors
    # shellcheck disable=SC2086 # words
    if "$program" loo before $loo >found 2>errors && grep -q 'was complete' found; then
        complain "a byte at $at does not count: $(cat found)"
    fi
    cp m before/model.safetensors
done
# A plan and a hybrid are of the model that they were made from.
"$program" plan --db s.db --run 1 --stages 1 -o plan.json --quiet >out
fingerprint() { "$program" inspect "$1" --quiet | sed -n 's/^fingerprint \(............\).*/\1/p'; }
fails 1 "\"plan.json\" was made for another model than \"after\" (fingerprints $(fingerprint before) and $(fingerprint after))" \
    convert after --plan plan.json -o h
rm -f out errors

# End tokens: greedy generate of transformers gives " Ann has 3 * 2 = 6 pens" and " There are 4 x 2 =
# 8 cups of flour in total." where a text ends at "\n", and runs on to --max-tokens where it does not.
cat >two.jsonl <<'X'
{"question": "Ann has 2 pens and buys 3 more. How many pens does she have?", "answer": "2 + 3 = 5\n#### 5"}
{"question": "A box holds 4 cups. How many cups do 6 boxes hold?", "answer": "4 * 6 = 24\n#### 24"}
X
for name in plain newline; do
    cp -r "$demo" $name
    chmod -R u+w $name
done
sed -i 's/"eos_token_id": [0-9]*/"eos_token_id": 199/' newline/config.json newline/generation_config.json
evaluate() { "$program" eval "$1" --task gsm8k=two.jsonl --max-tokens 40 --db e.db --device cpu --json; }
evaluate plain >found
grep -q '"run": 1,' found && tr -d ' \n' <found | grep -q '"finished":{"value":0.0,' || complain "plain: $(cat found)"
evaluate newline >found
tr -d ' \n' <found | grep -q '"finished":{"value":1.0,' || complain "newline: $(cat found)"
tr -d ' \n' <found | grep -q '"tokens":{"value":14.5,' || complain "newline: $(cat found)"
"$program" scores --db e.db --run 2 --export answers >found
grep -q '," Ann has 3 \* 2 = 6 pens"$' found || complain "newline: $(cat found)"
grep -q '," There are 4 x 2 = 8 cups of flour in total\."$' found || complain "newline: $(cat found)"
# Each of the two files alone, another tokenizer, another question, answer or place of the file.
runs=2
another() { # WHAT MODEL
    evaluate "$2" >found 2>errors || complain "$1: $(cat errors)"
    run=$(sed -n 's/^ *"run": \([0-9]*\),*$/\1/p' found)
    [ "$run" -gt "$runs" ] || complain "$1 is taken for run $run"
    [ "$run" -le "$runs" ] || runs=$run
}
cp plain/config.json newline/config.json
sed -i 's/"eos_token_id": [0-9]*/"eos_token_id": 198/' newline/generation_config.json
another "generation_config.json alone" newline
cp plain/generation_config.json newline/generation_config.json
sed -i 's/"eos_token_id": [0-9]*/"eos_token_id": 197/' newline/config.json
another "config.json alone" newline
printf '{"eos_token": "."}' >plain/tokenizer_config.json
another "tokenizer_config.json" plain
rm plain/tokenizer_config.json
cp plain/tokenizer.json kept.json
printf '\n' >>plain/tokenizer.json
another "tokenizer.json" plain
cp kept.json plain/tokenizer.json
sed -i 's/#### 24/#### 23/' two.jsonl
another "another right answer" plain
sed -i 's/6 boxes/7 boxes/' two.jsonl
another "another question" plain

# A run of the same numbers version by another release is used, and said to be that; one of another
# numbers version is kept, and neither used nor continued.
change() { python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()' "$@"; }
if command -v python3 >out; then
    evaluate plain >found
    run=$(sed -n 's/^ *"run": \([0-9]*\),*$/\1/p' found)
    change e.db "UPDATE run SET version = '0.0.9'"
    "$program" eval plain --task gsm8k=two.jsonl --max-tokens 40 --db e.db --device cpu >found 2>errors
    grep -qx "run $run was complete: nothing computed" found || complain "another release: $(cat found)"
    grep -qx "run $run is by apriel-tool 0.0.9, with the same numbers version" errors || complain "another release: $(cat errors)"
    change e.db "UPDATE run SET numbers = 1"
    "$program" eval plain --task gsm8k=two.jsonl --max-tokens 40 --db e.db --device cpu >found 2>errors
    grep -q 'was complete' found && complain "another numbers version: $(cat found)"
    grep -q "^run $run asked the same of apriel-tool 0.0.9, whose numbers are others (version 1, now [0-9]*): it is kept, and not used\$" errors ||
        complain "another numbers version: $(cat errors)"
    change s.db "UPDATE run SET numbers = 99, status = 'interrupted'"
    # shellcheck disable=SC2086 # words
    "$program" loo before ${loo% --quiet} >found 2>errors
    grep -q 'continues' errors && complain "another numbers version is continued: $(cat errors)"
    grep -q "^run 1 asked the same of apriel-tool 0.1.0, whose numbers are others (version 99, now [0-9]*)" errors ||
        complain "interrupted: $(cat errors)"
fi

# What release 0.1.0 left: scores, plans and charts read it; loo computes anew and says why.
mkdir o
cp "$older/scores.db" "$older/plan.json" o/
chmod u+w o/*
"$program" scores --db o/scores.db >found
grep -q '^run 1: of an older apriel-tool, whose fingerprint reads samples ' found ||
    complain "older scores: $(cat found)"
"$program" scores --db o/scores.db --run 1 | grep -q '^   1      0  2.2642' || complain "older scores --run"
"$program" plan --db o/scores.db --run 1 --stages 1 -o o/again.json --quiet >out
grep -q '"fingerprint_kind": 1' o/again.json || complain "a plan of an older run: $(cat o/again.json)"
"$program" loo before --data rows.h5 --db o/scores.db --layers 0 --device cpu >found 2>errors
grep -q '^run 2: 1 layers ablated' found || complain "an older run is used: $(cat found)"
grep -qx 'run 1, by apriel-tool 0.1.0, may be of another model: its fingerprint reads samples of the weights. It is kept, and not used' errors ||
    complain "an older run is not named: $(cat errors)"
"$program" plan --db o/scores.db --run 1 --run 2@1 --stages 2 >found 2>errors || true
grep -qx 'apriel-tool: runs 1 and 2 score different models ("before", known by an older fingerprint and "before")' errors ||
    complain "runs of both kinds: $(cat errors)"
# An older plan is taken for a model with the same samples, with a warning; not for another.
for plan in plan again; do
    "$program" convert before --plan o/$plan.json -o h-$plan >out 2>errors || complain "o/$plan.json: $(cat errors)"
    grep -qx "warning: \"o/$plan.json\" knows its model by an older fingerprint, which reads samples of the weights: \"before\" has the same samples" errors ||
        complain "o/$plan.json: $(cat errors)"
done
"$program" loo before --data rows.h5 --db o/scores.db --layers 1 --base o/plan.json --device cpu >out 2>errors
grep -q '^warning: "o/plan.json" knows its model by an older fingerprint' errors || complain "--base: $(cat errors)"
printf '\001' | dd of=before/model.safetensors bs=1 seek=331000 conv=notrunc 2>errors # in a sample
"$program" convert before --plan o/plan.json -o h 2>errors && complain "another model for an older plan"
grep -q 'was made for another model' errors || complain "another model for an older plan: $(cat errors)"
cp m before/model.safetensors
mkdir states
: >states/apriel-tool-teacher-2c2b47ba2ffd9bb1.h5
# shellcheck disable=SC2086 # words
"$program" mmr before --db d.db --data rows.h5 --cache-dir states --layers 0 --steps 2 --batch 1 --heldout 1 --device cpu >out 2>errors
grep -qx '"states/apriel-tool-teacher-2c2b47ba2ffd9bb1.h5" is named by an older fingerprint, which reads samples of the weights: it may be of another model and is not used' errors ||
    complain "older states: $(cat errors)"

exit $bad
