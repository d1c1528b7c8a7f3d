#!/bin/sh
# apriel-tool data: row counts, packing, masks, limits, and every malformed input.
. "$(dirname "$0")/common.sh"
always=data


# gives "KEY VALUE KEY VALUE..." ARGUMENTS...: members of the JSON that is printed
gives() {
    wanted=$1
    shift
    if ! "$program" data --tokenizer "$demo" --json --force "$@" >out 2>errors; then
        complain "data $*: $(cat errors)"
        return
    fi
    # shellcheck disable=SC2086
    set -- $wanted
    while [ $# -gt 0 ]; do
        grep -q "\"$1\": \"\\{0,1\\}$2\"\\{0,1\\},\\{0,1\\}$" out ||
            complain "$wanted: $1 is not $2 but $(grep "\"$1\"" out)"
        shift 2
    done
}

ids=$golden/ids.jsonl
gives "rows 16 tokens 2048 longest_row 128 loss_mask false masked_tokens 2048 vocab_size 2048" \
    -o a.h5 "$ids"
fingerprint=$(sed -n 's/.*"fingerprint": "\(.*\)",/\1/p' out)
gives "rows 16 tokens 2048 fingerprint $fingerprint" -o b.h5 --seq-len 100 "$ids"
cmp a.h5 b.h5 || complain "ids are not taken as they are when packing"
gives "rows 7 tokens 896 limited true" -o a.h5 --limit-tokens 1000 "$ids"

# Texts of one token a letter, and an end token.
printf '{"text": "aaaa"}\n{"text": ""}\n\n{"text": "bb", "other": 1}\n' >texts.jsonl
printf 'zq' >text.txt
gives "rows 3 records 4 empty_records 1 tokens 8 longest_row 4 loss_mask false" \
    -o a.h5 texts.jsonl text.txt
# aaaa 0 bb 0 zq 0: 11 tokens
gives "rows 3 tokens 9 longest_row 3 dropped_tokens 2" -o a.h5 --seq-len 3 texts.jsonl text.txt
gives "rows 4 tokens 8 dropped_tokens 0" -o a.h5 --seq-len 2 --end none texts.jsonl text.txt
gives "rows 2 tokens 6 dropped_tokens 0 limited true" -o a.h5 --seq-len 3 --limit-tokens 8 texts.jsonl
gives "rows 2 tokens 5 cut_rows 1 dropped_tokens 0" -o a.h5 --seq-len 3 --no-pack texts.jsonl
gives "rows 2 tokens 8 longest_row 5" -o a.h5 --end '<|endoftext|>' texts.jsonl
printf 'a<|endoftext|>' >ends.txt
gives "rows 1 tokens 2" -o a.h5 --end '<|endoftext|>' ends.txt

# A mask appears with the first record that has one: 3 prompt tokens, 2 of the response and its end.
printf '{"prompt": "zqz", "response": "bb"}\n' >pair.jsonl
gives "rows 1 tokens 5 loss_mask true masked_tokens 2" -o a.h5 pair.jsonl
gives "rows 1 tokens 6 masked_tokens 3" -o a.h5 --end '<|endoftext|>' pair.jsonl
gives "rows 1 tokens 7 masked_tokens 2" -o a.h5 --separator 'a\n' pair.jsonl
gives "rows 3 tokens 11 loss_mask true masked_tokens 8" -o a.h5 texts.jsonl pair.jsonl
printf '{"ids": [1, 2, 3], "loss_mask": [0, 0, 1]}\n' >masked.jsonl
gives "rows 4 tokens 14 masked_tokens 9" -o a.h5 masked.jsonl texts.jsonl pair.jsonl

# The same bytes with any number of threads; a byte order mark and a missing last newline are fine.
OMP_NUM_THREADS=1 "$program" data --tokenizer "$demo" -o one.h5 --seq-len 64 \
    "$source/recipes/gsm8k-excerpt.jsonl" >out
OMP_NUM_THREADS=5 "$program" data --tokenizer "$demo" -o five.h5 --seq-len 64 \
    "$source/recipes/gsm8k-excerpt.jsonl" >out
cmp one.h5 five.h5 || complain "another number of threads gives another file"
printf '\357\273\277{"text": "zq"}' >mark.jsonl
gives "rows 1 tokens 2" -o a.h5 mark.jsonl
rm ./*.h5

fails 2 'data: --tokenizer is needed' -o x.h5 text.txt
fails 2 'data: -o is needed' --tokenizer "$demo" text.txt
fails 2 'data: name at least one input file (see apriel-tool data --help)' --tokenizer "$demo" -o x.h5
fails 2 'data: --seq-len is 0, outside 1 to 2147483647' --tokenizer "$demo" -o x.h5 --seq-len 0 text.txt
fails 2 'data: --no-pack needs --seq-len' --tokenizer "$demo" -o x.h5 --no-pack text.txt
fails 2 'input "a.csv" is not named .txt, .jsonl or .json (with .gz or without): say what it is with --format' --tokenizer "$demo" -o x.h5 a.csv
fails 1 'cannot open "no.txt": No such file or directory' --tokenizer "$demo" -o x.h5 no.txt
fails 1 '"nowhere" does not exist' --tokenizer nowhere -o x.h5 text.txt
fails 1 "the tokenizer of \"$demo\" has no token \"</s>\"" --tokenizer "$demo" -o x.h5 --end '</s>' text.txt
mkdir directory.jsonl
fails 1 'cannot read "directory.jsonl": it is a directory' --tokenizer "$demo" -o x.h5 directory.jsonl
fails 1 'the input has 3 tokens, less than one row of --seq-len 8' --tokenizer "$demo" -o x.h5 --seq-len 8 text.txt
fails 1 '--limit-tokens 5 is less than one row of --seq-len 8' --tokenizer "$demo" -o x.h5 --seq-len 8 --limit-tokens 5 texts.jsonl
fails 1 'the first row has more than --limit-tokens 3 tokens' --tokenizer "$demo" -o x.h5 --limit-tokens 3 texts.jsonl
: >empty.txt
fails 1 'the input holds no text' --tokenizer "$demo" -o x.h5 empty.txt
printf 'abc\377' >broken.txt
fails 1 '"broken.txt": the text is not UTF-8 at byte 3: convert it first, as with iconv -t UTF-8' --tokenizer "$demo" -o x.h5 broken.txt
fails 1 "cannot write \"nowhere/x.h5\": No such file or directory" --tokenizer "$demo" -o nowhere/x.h5 text.txt

# line REASON CONTENT: a malformed second line is named
line() {
    printf '{"text": "a"}\n%b\n' "$2" >line.jsonl
    fails 1 "\"line.jsonl\": line 2: $1" --tokenizer "$demo" -o x.h5 line.jsonl
}
: >line.jsonl
line "invalid JSON at column 13: ']' expected near end of file" '{"ids": [1, 2'
line "invalid JSON at column 3: '[' or '{' expected near 'abc'" 'abc'
line "a record must be a JSON object" '[1, 2]'
needs='but needs "text", or "prompt" and "response", or "prompt" and "completion", or "chosen", or "instruction" and "output", or "messages", or "conversations", or "ids": name its fields with'
line "the record has \"texts\", $needs --fields text=texts" '{"texts": "a"}'
line 'the record has a "prompt" and nothing that follows it: it needs "completion", "response" or "chosen"' '{"prompt": "a"}'
line "the record has \"id\", \"question\", \"answer\", $needs --fields prompt=question,response=answer" \
    '{"id": "a", "question": "b", "answer": "c"}'
line "the record has \"a\", \"b\", $needs --fields, as --fields prompt=question,response=answer" '{"a": "1", "b": "2"}'
line "the record has no fields, $needs --fields, as --fields prompt=question,response=answer" '{}'
line 'the record has "text"; "ids": choose with --fields, as --fields text=text' '{"text": "a", "ids": [1]}'
line 'the record has "prompt" and "response"; "ids": choose with --fields, as --fields prompt=prompt,response=response' \
    '{"prompt": "a", "response": "b", "ids": [1]}'
line '"text" must be a string' '{"text": 1}'
line '"response" must be a string' '{"prompt": "a", "response": []}'
line '"ids" must be a list of integers' '{"ids": "1 2"}'
line '"ids" must be a list of integers' '{"ids": [1, 2.5]}'
line '"ids" is empty' '{"ids": []}'
line 'id 2048 at position 1 is outside the vocabulary of 2048 tokens' '{"ids": [2047, 2048]}'
line 'id -1 at position 0 is outside the vocabulary of 2048 tokens' '{"ids": [-1]}'
line '"loss_mask" must be a list as long as "ids"' '{"ids": [1, 2], "loss_mask": [1]}'
line '"loss_mask" must hold 0 and 1' '{"ids": [1, 2], "loss_mask": [1, 2]}'


# Conversations, through a template: only answers count, tools are left out with a word.
cat >chat.jinja <<'END'
{%- for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}
END
cat >chats.jsonl <<'END'
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
{"tools": [{"type": "function"}], "messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "x"}, {"role": "assistant", "content": "Hello"}]}
{"messages": [{"role": "user", "content": "Hi"}]}
{"messages": []}
{"messages": null}
{"messages": [{"role": "user", "content": null}, {"role": "assistant", "content": "Hello"}]}
{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": null}]}
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": null, "tool_calls": []}, {"role": "assistant", "content": "Hello"}]}
END
"$program" data --tokenizer "$demo" --template chat.jinja -o chats.h5 chats.jsonl --json >json 2>errors ||
    complain "conversations: $(cat errors)"
grep -q 'warning: 2 conversations with tools: their lists, calls and answers are left out' errors ||
    complain "tools: $(cat errors)"
for field in '"records": 9' '"empty_records": 5' '"rows": 4' '"loss_mask": true' '"tool_records": 2' '"lost_answers": 0'; do
    grep -qF "$field" json || complain "conversations: $field: $(cat json)"
done
fails_with() {
    set +e
    "$program" data --tokenizer "$demo" -o x.h5 chats.jsonl $2 >out 2>errors
    [ $? -eq 1 ] || complain "conversations with $2"
    set -e
    grep -qFe "$1" errors || complain "conversations with $2: $(cat errors)"
}
fails_with '"chats.jsonl": line 1: a conversation needs a chat template: ' ''
fails_with '--template "none.jinja" is no file' '--template none.jinja'

# A full disk: standard output, and the token set itself where a small file system can be mounted.
if [ -w /dev/full ]; then
    set +e
    "$program" data --tokenizer "$demo" -o x.h5 text.txt >/dev/full 2>errors
    found=$?
    set -e
    [ $found -eq 1 ] || complain "a full standard output exits with $found"
    [ "$(cat errors)" = "apriel-tool: cannot write to standard output: No space left on device" ] ||
        complain "a full standard output: $(cat errors)"
fi
mkdir small
if mount -t tmpfs -o size=16k tmpfs small 2>/dev/null; then
    mounted=$temporary/small
    set +e
    "$program" data --tokenizer "$demo" -o small/x.h5 "$source/recipes/gsm8k-excerpt.jsonl" >out 2>errors
    found=$?
    set -e
    [ $found -eq 1 ] || complain "a full disk exits with $found"
    [ "$(cat errors)" = 'apriel-tool: cannot write "small/x.h5": No space left on device' ] ||
        complain "a full disk: $(cat errors)"
    [ -z "$(ls small)" ] || complain "a full disk: leaves $(ls small)"
fi

exit $bad
