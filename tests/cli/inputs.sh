#!/bin/sh
# What apriel-tool data takes: fields of any name, lists, compressed files, standard input, marks,
# encodings, line ends, nulls, long rows, shuffled rows.
. "$(dirname "$0")/common.sh"
always=data

# Ids of the demo model: a 65, b 66, z 90, q 81, a newline 199.

# ---- fields

records_give alpaca "$demo" '{"instruction": "z", "input": "q", "output": "ab"}' \
    '{"instruction": "z", "input": "", "output": "ab"}' '{"instruction": "z", "output": "ab"}' \
    '{"instruction": "z", "input": null, "output": "ab", "other": [1]}' \
    '{"instruction": "", "input": "q", "output": "ab"}' -- \
    '[90, 199, 81, 563], "loss_mask": [0,0,0,1]}' '[90, 563], "loss_mask": [0,1]}' \
    '[90, 563], "loss_mask": [0,1]}' '[90, 563], "loss_mask": [0,1]}' '[81, 563], "loss_mask": [0,1]}'
options='--separator b'
records_give "alpaca with a separator" "$demo" '{"instruction": "z", "input": "q", "output": "a"}' -- \
    '[90, 199, 81, 66, 65], "loss_mask": [0,0,0,0,1]}'
options='--fields prompt=question,response=answer'
records_give "--fields of a pair" "$demo" '{"question": "z", "answer": "q", "text": "aaaa", "prompt": 1}' -- \
    '[90, 81], "loss_mask": [0,1]}'
options='--fields response=prompt,prompt=response'
records_give "--fields that exchange" "$demo" '{"response": "z", "prompt": "q"}' -- '[90, 81], "loss_mask": [0,1]}'
options='--fields text=content'
records_give "--fields of a text" "$demo" '{"content": "zq", "text": "a", "ids": [1]}' -- '[90, 81]}'
options='--fields instruction=a,input=b,output=c'
records_give "--fields of alpaca" "$demo" '{"a": "z", "b": "q", "c": "a"}' -- '[90, 199, 81, 65], "loss_mask": [0,0,0,1]}'
options='--fields ids=tokens,loss_mask=labels'
records_give "--fields of ids" "$demo" '{"tokens": [1, 2], "labels": [0, 1], "ids": [3]}' -- '[1, 2], "loss_mask": [0,1]}'
options='--fields text=a=b'
records_give "a name with =" "$demo" '{"a=b": "zq"}' -- '[90, 81]}'
options=
wrong() {
    fails 2 "$1" --tokenizer "$demo" -o x.h5 --fields "$2" a.jsonl
}
echo '{"text": "a"}' >a.jsonl
wrong '--fields: "question" is not ROLE=NAME, as prompt=question' question
wrong '--fields: "text=" is not ROLE=NAME, as prompt=question' text=
wrong '--fields: "" is not ROLE=NAME, as prompt=question' ''
wrong '--fields: "" is not ROLE=NAME, as prompt=question' text=a,
wrong '--fields: no role "query": there are text, prompt, response, completion, chosen, rejected, instruction, input, output, ids, loss_mask, messages, conversations' query=a
wrong '--fields names "text" twice' text=a,text=b
fails 1 '"a.jsonl": line 1: the record has "text", not what --fields names: "question", "answer"' \
    --tokenizer "$demo" -o x.h5 --fields prompt=question,response=answer a.jsonl

# ---- what is left out, and counted

# counted "KEY VALUE..." ARGUMENTS...: members of the JSON document
counted() {
    wanted=$1
    shift
    "$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json "$@" >found.json 2>errors ||
        complain "$*: $(cat errors)"
    # shellcheck disable=SC2086 # words
    set -- $wanted
    while [ $# -gt 0 ]; do
        grep -q "\"$1\": $2,\\{0,1\\}\$" found.json || complain "$wanted: $(grep "\"$1\"" found.json)"
        shift 2
    done
}
cat >nulls.jsonl <<'END'
{"text": null}
{"text": "b"}
{"text": ""}
{"text": NaN}
{"prompt": null, "response": "a"}
{"prompt": "a", "response": null}
{"instruction": "a", "output": null}
{"ids": null}
{"text": null, "prompt": "z", "response": "q"}
END
counted "records 9 empty_records 7 rows 2" nulls.jsonl
gives_rows nulls '[66]}' '[90, 81], "loss_mask": [0,1]}'
"$program" data --quiet --force --tokenizer "$demo" -o found.h5 nulls.jsonl | grep -q '^empty  *7 ' || complain "the nulls are not said"

# ---- kinds of files

printf '[{"text": "z\\"]q"}, {"text": "a"} ,\n\n {"ids": [1,\n2]}\n]\n' >list.json
counted "rows 3 records 3" list.json
gives_rows list '[90, 2, 61, 81]}' '[65]}' '[1, 2]}'
printf '{"text": "zq"}\n{"text":\n "a"}{"text": "b"}' >values.json
counted "rows 3" values.json
gives_rows values '[90, 81]}' '[65]}' '[66]}'
printf '[]' >empty.json
fails 1 'the input holds no text' --tokenizer "$demo" -o x.h5 empty.json
wrong_list() {
    printf '%b' "$2" >wrong.json
    fails 1 "\"wrong.json\": $1" --tokenizer "$demo" -o x.h5 wrong.json
}
: >wrong.json
wrong_list 'after record 1: the file ends early' '[{"text": "a"}'
wrong_list 'after record 1: the file ends early' '[{"text": "a"},{"text": "b'
wrong_list 'after record 1: the file ends early' '[{"text": "a"},'
wrong_list 'after record 1: a comma or the end of the array is expected' '[{"text": "a"} {"text": "b"}]'
wrong_list 'after record 1: a record is expected' '[{"text": "a"},,{"text": "b"}]'
wrong_list 'after record 1: more follows the end of the array' '[{"text": "a"}]x'
wrong_list 'after record 0: a record is expected' '}'
wrong_list "record 2: invalid JSON at column 8: string or '}' expected near '}'" '[{"text": "a"},\n{"a":1,}]'
wrong_list 'record 2: a record must be a JSON object' '[{"text": "a"}, [5]]'
wrong_list "record 2: the record has \"a\", but needs \"text\", or \"prompt\" and \"response\", or \"prompt\" and \"completion\", or \"chosen\", or \"instruction\" and \"output\", or \"messages\", or \"conversations\", or \"ids\": name its fields with --fields text=a" \
    '[{"text": "a"}, {"a": "b"}]'

# gzip by content, by name, or both; several members; a mark within.
printf '{"text": "zq"}\n' >plain.jsonl
printf '{"text": "a"}' >more.jsonl
gzip -c plain.jsonl >two.jsonl.gz
gzip -c more.jsonl >>two.jsonl.gz
cp two.jsonl.gz hidden.jsonl
cp plain.jsonl not.jsonl.gz
gzip -c list.json >list.json.gz
printf 'zq' | gzip -c >text.txt.gz
counted "rows 2" two.jsonl.gz
gives_rows "two members" '[90, 81]}' '[65]}'
counted "rows 2" hidden.jsonl
gives_rows "hidden" '[90, 81]}' '[65]}'
counted "rows 1" not.jsonl.gz
counted "rows 3" list.json.gz
counted "rows 1 tokens 2" text.txt.gz
head -c 40 two.jsonl.gz >cut.jsonl.gz
fails 1 '"cut.jsonl.gz" is compressed and ends early: damaged or not whole' --tokenizer "$demo" -o x.h5 cut.jsonl.gz
{ head -c 14 text.txt.gz; printf '\377\377\377'; tail -c +18 text.txt.gz; } >damaged.txt.gz
"$program" data --force --tokenizer "$demo" -o x.h5 damaged.txt.gz 2>errors && complain "damaged data is taken"
grep -q '^apriel-tool: "damaged.txt.gz": its compressed data is damaged' errors || complain "damaged: $(cat errors)"

# Standard input shows what it is.
"$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json - <two.jsonl.gz >found.json || complain "gzip on standard input"
gives_rows "standard input" '[90, 81]}' '[65]}'
"$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json - plain.jsonl <list.json >found.json || complain "a list on standard input"
gives_rows "a list on standard input" '[90, 2, 61, 81]}' '[65]}' '[1, 2]}' '[90, 81]}'
printf 'zq' | "$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json - >found.json || complain "text on standard input"
gives_rows "text on standard input" '[90, 81]}'
printf '{z' | "$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json --format text - >found.json || complain "--format text"
gives_rows "--format text" '[91, 90]}'
cp plain.jsonl unnamed
"$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json --format lines unnamed >found.json || complain "--format lines"
gives_rows "--format lines" '[90, 81]}'
cp values.json unnamed
"$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json --format json unnamed >found.json || complain "--format json"
gives_rows "--format json" '[90, 81]}' '[65]}' '[66]}'
fails 2 'data: standard input (-) is read only once' --tokenizer "$demo" -o x.h5 - -
printf '{"text": "a"}\n{"text": 1}\n' >wrong.jsonl
"$program" data --force --tokenizer "$demo" -o x.h5 - <wrong.jsonl 2>errors && complain "a wrong line on standard input"
[ "$(cat errors)" = 'apriel-tool: "-": line 2: "text" must be a string' ] || complain "standard input: $(cat errors)"

# ---- marks, encodings, line ends

printf '\357\273\277hello' >mark.txt
printf 'hello' >no-mark.txt
for name in mark no-mark; do
    "$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json $name.txt | grep fingerprint >$name.print
done
cmp mark.print no-mark.print || complain "a byte order mark in a .txt file is tokenized"
gzip -c mark.txt >mark.txt.gz
"$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json mark.txt.gz | grep fingerprint | cmp - no-mark.print || complain "a mark, compressed"
"$program" data --quiet --force --tokenizer "$demo" -o found.h5 --json - <mark.txt | grep fingerprint | cmp - no-mark.print || complain "a mark on standard input"
printf '\357\273\277{"text": "zq"}\r\n\357\273\277{"text": "a"}\r\n\r\n' >mark.jsonl
counted "rows 2 records 2" mark.jsonl
gives_rows "marks and CRLF" '[90, 81]}' '[65]}'
printf '\357\273\277[{"text": "zq"}]' >mark.json
counted "rows 1 tokens 2" mark.json
printf '\357\273\277' >only.txt
fails 1 'the input holds no text' --tokenizer "$demo" -o x.h5 only.txt
# A mark that the text itself holds is text.
records_give "an escaped mark" "$demo" '{"text": "\ufeffz"}' -- '[172, 120, 124, 90]}'
printf 'z\r\nq\r\n\r' >crlf.txt
counted "rows 1" crlf.txt
gives_rows "CRLF in a document" '[90, 199, 81, 199, 202]}'

encoded() {
    printf '%b' "$3" >"$1"
    fails 1 "\"$1\" is $2" --tokenizer "$demo" -o x.h5 "$1"
}
: >wide.txt; : >wide.jsonl; : >a.txt.gz
advice() { echo "$1, not UTF-8: convert it first, with iconv -f $1 -t UTF-8"; }
encoded wide.txt "$(advice UTF-16)" '\377\376h\000i\000'
encoded wide.txt "$(advice UTF-16)" '\376\377\000h\000i'
encoded wide.txt "$(advice UTF-16LE)" 'h\000i\000!\000'
encoded wide.jsonl "$(advice UTF-16BE)" '\000{\000}'
encoded wide.jsonl "$(advice UTF-32)" '\377\376\000\000h\000\000\000'
encoded wide.txt 'compressed with zstd: pipe it in: zstd -dc FILE | apriel-tool data ... -' '\050\265\057\375abc'
encoded wide.txt 'compressed with xz: pipe it in: xz -dc FILE | apriel-tool data ... -' '\3757zXZ\000'
encoded wide.jsonl 'compressed with bzip2: pipe it in: bzip2 -dc FILE | apriel-tool data ... -' 'BZh91AY&SY'
encoded wide.jsonl 'a ZIP archive: unpack it first' 'PK\003\004'
printf '{"text": "a"}\n{"text": "caf\351"}\n' >latin.jsonl
fails 1 '"latin.jsonl": line 2: the text is not UTF-8 at byte 13: convert the file first, as with iconv -t UTF-8' \
    --tokenizer "$demo" -o x.h5 latin.jsonl

# ---- long rows: the demo model takes 1024 tokens

awk 'BEGIN { for (i = 0; i < 1024; i++) printf "z" }' >fits.txt
awk 'BEGIN { for (i = 0; i < 3000; i++) printf "zq" }' >long.txt
counted "long_rows 0 model_tokens 1024" fits.txt
counted "long_rows 1 model_tokens 1024" fits.txt long.txt
"$program" data --force --tokenizer "$demo" -o found.h5 fits.txt long.txt >out 2>errors
grep -q '1 of 2 rows are longer than the 1024 tokens that the model takes (up to 6000): pack the texts with --seq-len 1024, or cut them with --no-pack besides' errors ||
    complain "long rows: $(cat errors)"
grep -q '^too long  *1 ' out || complain "long rows: $(cat out)"
counted "long_rows 0 cut_rows 1" --seq-len 1024 --no-pack fits.txt long.txt
counted "long_rows 0" --seq-len 512 fits.txt long.txt
cp "$demo/tokenizer.json" alone.json
"$program" data --quiet --force --tokenizer alone.json -o found.h5 --json long.txt | grep -q model_tokens && complain "a model's context without a model"

# ---- shuffled rows

awk 'BEGIN { for (i = 1; i <= 40; i++) printf "{\"ids\": [%d, %d]}\n", i, i }' >ordered.jsonl
counted "rows 40 tokens 80 shuffle 7" --shuffle 7 ordered.jsonl
first=$(grep fingerprint found.json)
counted "rows 40" --shuffle 7 ordered.jsonl
[ "$(grep fingerprint found.json)" = "$first" ] || complain "--shuffle: another order with the same seed"
counted "rows 40" --shuffle 8 ordered.jsonl
[ "$(grep fingerprint found.json)" != "$first" ] || complain "--shuffle: the same order with another seed"
counted "rows 40" ordered.jsonl
[ "$(grep fingerprint found.json)" != "$first" ] || complain "--shuffle: the order of the file"
counted "rows 10 tokens 20 limited true" --shuffle 7 --limit-tokens 21 ordered.jsonl
counted "rows 13 dropped_tokens 0 limited true" --shuffle 0 --seq-len 3 --end none fits.txt --limit-tokens 40
# The first rows of the whole order are those that a limit leaves.
OMP_NUM_THREADS=1 "$program" data --quiet --force --tokenizer "$demo" -o one.h5 --seq-len 64 --shuffle 3 "$source/recipes/gsm8k-excerpt.jsonl" >out
OMP_NUM_THREADS=5 "$program" data --quiet --force --tokenizer "$demo" -o five.h5 --seq-len 64 --shuffle 3 "$source/recipes/gsm8k-excerpt.jsonl" >out
cmp one.h5 five.h5 || complain "--shuffle: another number of threads gives another file"
exit $bad
