#!/bin/sh
# The tokens that a tokenizer's template puts around a text: those before it begin every prompt and
# record, once; those after it end a record and nothing else.
. "$(dirname "$0")/common.sh"

tokens_around before 1 0
tokens_around after 0 1
tokens_around both 1 1
items=$source/tests/data/cases/bos_items.jsonl

# ---- records

options=
question='{"prompt": "Question: Ann has 2 pens and buys 3 more. How many pens does she have?\nAnswer:", "response": " 2 + 3 = 5"}'
asked='338, 26, 1560, 356, 221, 18, 1648, 299, 951, 221, 19, 450, 14, 410, 368, 1648, 517, 375, 404, 31, 199, 336, 26'
told='221, 18, 373, 221, 19, 287, 221, 21'
out='0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0'
text='{"text": "Ann has 2 pens."}'
ann='33, 78, 78, 356, 221, 18, 1648, 14'
records_give "no template" "$demo" "$question" "$text" -- \
    "[$asked, $told], \"loss_mask\": [$out,1,1,1,1,1,1,1,1]}" "[$ann]}"
records_give "an end" after "$question" "$text" -- \
    "[$asked, $told, 0], \"loss_mask\": [$out,1,1,1,1,1,1,1,1,1]}" "[$ann, 0]}"
records_give "a beginning" before "$question" "$text" -- \
    "[0, $asked, $told], \"loss_mask\": [0,$out,1,1,1,1,1,1,1,1]}" "[0, $ann]}"
records_give "both" both "$question" "$text" -- \
    "[0, $asked, $told, 0], \"loss_mask\": [0,$out,1,1,1,1,1,1,1,1,1]}" "[0, $ann, 0]}"
# What the text brings is not added again.
records_give "an end of its own" both '{"text": "<|endoftext|>zq<|endoftext|>"}' \
    '{"prompt": "<|endoftext|>a", "response": "zq<|endoftext|>"}' '{"text": "<|endoftext|>"}' -- \
    '[0, 90, 81, 0]}' '[0, 65, 90, 81, 0], "loss_mask": [0,0,1,1,1]}' '[0]}'
records_give "no response" both '{"prompt": "zq", "response": ""}' -- '[0, 90, 81, 0], "loss_mask": [0,0,0,1]}'
records_give "no prompt" both '{"prompt": "", "response": "zq"}' -- '[0, 90, 81, 0], "loss_mask": [0,1,1,1]}'
options='--separator a'
records_give "a separator" both '{"prompt": "z", "response": "q"}' -- '[0, 90, 65, 81, 0], "loss_mask": [0,0,0,1,1]}'
options='--no-special'
records_give "--no-special" both "$question" -- "[$asked, $told], \"loss_mask\": [$out,1,1,1,1,1,1,1,1]}"
# --end stands instead of the template's end.
options='--end none'
records_give "--end none" both "$text" -- "[0, $ann]}"
options='--end Q'
records_give "--end Q" both '{"prompt": "z", "response": "q"}' -- '[0, 90, 81, 49], "loss_mask": [0,0,1,1]}'
options='--end <|endoftext|>'
records_give "--end as the template's" both "$text" -- "[0, $ann, 0]}"
# Packed texts are ended once, by the template or else by the model's end.
options='--seq-len 4'
records_give "packed" both '{"text": "zq"}' '{"text": "zq"}' -- '[0, 90, 81, 0]}' '[0, 90, 81, 0]}'
records_give "packed after the beginning" before '{"text": "zq"}' '{"text": "zq"}' -- '[0, 90, 81, 0]}' '[0, 90, 81, 0]}'
options=

# ---- prompts

prompt=$(printf 'Question: Ann has 2 pens and buys 3 more. How many pens does she have?\nAnswer:')
# continued MODEL [OPTION...]: the number of prompt tokens and the text
continued() {
    model=$1
    shift
    "$program" generate "$model" --quiet --device cpu --json --max-tokens 12 "$@" |
        grep -E '^ *"(text|prompt_tokens)"' | sort -u
}
continued "$demo" --prompt "$prompt" >plain
grep -qF '"text": " Ann has 3 * 2 = 6 pens' plain || complain "the demo model: $(cat plain)"
continued after --prompt "$prompt" | diff plain - || complain "an end token after a prompt"
continued before --prompt "$prompt" >begun
continued both --prompt "$prompt" | diff begun - || complain "an end token after a prompt that begins with one"
continued before --prompt "$prompt" --no-special | diff plain - || complain "generate --no-special"
continued before --prompt "<|endoftext|>$prompt" | diff begun - || complain "two beginnings"
[ "$(grep -c '"prompt_tokens": 24' begun)" -gt 0 ] || complain "no beginning: $(cat begun)"
echo '{"prompt": "zq"}' >prompts.jsonl
"$program" generate both --quiet --device cpu --prompts prompts.jsonl --max-tokens 1 --json |
    grep -q '"prompt_tokens": 3' || complain "--prompts"

# ---- multiple choice

# choices MODEL [OPTION...]: the log-likelihoods
choices() {
    rm -f choices.db
    "$program" eval "$@" --device cpu --quiet --db choices.db >out 2>errors || complain "eval $*: $(cat errors)"
    "$program" scores --db choices.db --run 1 --export choices
}
choices before --task "arc_easy=$items" >begun
# lm-evaluation-harness, see tests/oracle/bos.py
awk -F, -v expected="$source/tests/data/cases/bos_choices.csv" '
    BEGIN { while ((getline line <expected) > 0) { split(line, f, ","); value[f[1] "," f[2]] = f[3]; n++ } }
    NR > 1 { d = $4 - value[$2 "," $3]; if (d < 0) d = -d; if (!(d < 5e-4)) bad = 1; seen++ }
    END { exit bad || !n || n != seen }' begun || complain "other log-likelihoods than with lm-evaluation-harness"
choices before --special --task "arc_easy=$items" | diff begun - || complain "--special"
choices "$demo" --task "arc_easy=$items" >plain
cmp -s plain begun && complain "the beginning changes nothing"
choices before --no-special --task "arc_easy=$items" | diff plain - || complain "eval --no-special"
choices after --task "arc_easy=$items" | diff plain - || complain "an end token in a context"
choices both --task "arc_easy=$items" | diff begun - || complain "an end token after a beginning"
# A context that begins with the token.
echo '{"context": "<|endoftext|>The", "choices": ["end", "world is"], "answer": 0}' >own.jsonl
choices before --task choice=own.jsonl >begun
choices "$demo" --task choice=own.jsonl | diff - begun || complain "a context with a beginning of its own"
# Generated answers and recall.
# tokens MODEL [OPTION...]: of all rows or prompts
rows_of() {
    "$program" eval "$@" --device cpu --quiet --json --db rows.db >out
    sed -n 's/^ *"tokens": \([0-9]*\),\{0,1\}$/\1/p' out
}
plain=$(rows_of "$demo" --task "recall" --lengths 64 --items 1)
[ "$(rows_of both --task recall --lengths 64 --items 1)" = "$plain" ] || complain "recall: rows of another length"
for model in before after both; do
    "$program" eval $model --device cpu --quiet --task "gsm8k=$samples/gsm8k.jsonl" --limit 1 --max-tokens 4 --json >out 2>errors
    grep -q '"special": true' out || complain "gsm8k: $(cat out)"
done
always="eval --device cpu --quiet"
fails 2 '--special and --no-special contradict each other' before --special --no-special --task "arc_easy=$items"
fails 2 '--special and --no-special contradict each other' before --special --no-special --task "gsm8k=$samples/gsm8k.jsonl"

# ---- loo takes the same items
losses() {
    rm -f loo.db
    "$program" loo "$@" --task "arc_easy=$items" --limit 3 --layers 0 --device cpu --quiet --db loo.db >out
    "$program" scores --db loo.db --run 1 --export csv | cut -d, -f3-
}
losses before >begun
losses both | diff begun - || complain "loo: an end token"
losses "$demo" >plain
losses before --no-special | diff plain - || complain "loo --no-special"
cmp -s plain begun && complain "loo: the beginning changes nothing"
exit $bad
