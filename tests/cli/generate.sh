#!/bin/sh
# apriel-tool generate: text, JSON, batches, templates, and its one-line messages.
. "$(dirname "$0")/common.sh"
always="generate --quiet --device cpu"

run() {
    "$program" generate "$demo" --quiet --device cpu "$@"
}

run --prompt 'Natalia sold' --max-tokens 12 >greedy
[ "$(cat greedy)" = ' 100000 calories.  How many' ] || complain "greedy text: $(cat greedy)"
run --prompt 'Natalia sold' --max-tokens 12 --stop calor >stopped
[ "$(cat stopped)" = ' 100000 ' ] || complain "stop string: $(cat stopped)"

# The same texts alone, together, and from a file.
cat >prompts.jsonl <<'END'
{"prompt": "Natalia sold"}

{"prompt": "The", "other": 1}
{"ids": [352, 405]}
END
run --prompts prompts.jsonl --max-tokens 9 --temperature 1.2 --top-p 0.9 --top-k 50 --seed 3 --batch 1 >one
run --prompts prompts.jsonl --max-tokens 9 --temperature 1.2 --top-p 0.9 --top-k 50 --seed 3 --batch 3 >three
cmp -s one three || complain "another text with another batch"
[ "$(grep -c '^--- [123]: 9 tokens, length$' one)" = 3 ] || complain "texts of a file: $(cat one)"
run --prompts prompts.jsonl --max-tokens 9 --json >json
[ "$(grep -c '"stop": "length"' json)" = 3 ] || complain "--json: $(cat json)"

# Templates: a file, the model's own, one of several.
cat >chatml.jinja <<'END'
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
END
run --prompt Hello --template chatml.jinja --max-tokens 2 --json >json
grep -qF '"prompt": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"' json ||
    complain "--template chatml.jinja: $(cat json)"
grep -qF '"template": "file"' json || complain "where the template was found: $(cat json)"
fails 1 "\"$demo\" has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json): name a file with --template, or pass text that is ready with --prompt" "$demo" --prompt a --chat
cp -r "$demo" chat
chmod -R u+w chat
rm -f chat/tokenizer_config.json
printf '{{ bos_token }}<start_of_turn>{{ messages[0].content|trim }}' >chat/chat_template.jinja
"$program" generate chat --device cpu --quiet --prompt ' a ' --chat --max-tokens 1 --json >json
grep -qF '"prompt": "<start_of_turn>a"' json || complain "--chat: $(cat json)"
printf '{{ raise_exception("no users") if messages[0].role == "user" }}' >chat/chat_template.jinja
fails 1 '"chat/chat_template.jinja": line 1: the template says: no users' chat --prompt a --chat
printf '\n{%% include "b" %%}' >chat/chat_template.jinja
fails 1 '"chat/chat_template.jinja": line 2: the tag "include" is not understood here' chat --prompt a --chat
fails 1 "--template \"alpaca\" is no file, and \"$demo\" has no chat template of that name" "$demo" --prompt a --template alpaca

# What the ends of texts are, and the blank and the characters at their borders: tests/data/cases.
cases=$source/tests/data/cases
# shellcheck disable=SC2086 # words
case_of() {
    "$program" generate "$cases/$1" --prompts letter.jsonl --max-tokens "$2" --device cpu --quiet ${3-}
}
echo '{"ids": [286]}' >letter.jsonl
case_of generate-eos-list 4 --json | tr -d ' \n' >json
grep -qF '"text":"time","ids":[326,329],"stop":"stoptoken"' json ||
    complain "an end of generation_config.json: $(cat json)"
grep -qF '"new_tokens":2' json || complain "the end token is a new one: $(cat json)"
case_of generate-eos-list 2 --json | tr -d ' \n' | grep -qF '"ids":[326,329],"stop":"stoptoken"' ||
    complain "an end as the last of --max-tokens"
case_of generate-eos-list 1 --json | tr -d ' \n' | grep -qF '"ids":[326],"stop":"length"' ||
    complain "no end within --max-tokens"
case_of generate-eos-list 4 '--json --stop time' | tr -d ' \n' | grep -qF '"text":"","ids":[326],"stop":"stopstring"' ||
    complain "a stop string's tokens are among the ids"
case_of generate-eos-list 4 '--json --ignore-end' | tr -d ' \n' | grep -qF '"ids":[326,329,327,328],"stop":"length"' ||
    complain "--ignore-end"
[ "$(case_of generate-leading-space 2)" = ' time flies' ] || complain "the blank before the first word"
[ "$(case_of generate-byte-fallback-cut 3 | od -An -tx1 | tr -d ' \n')" = 0aefbfbdefbfbd0a ] || complain "a cut character"
case_of generate-byte-fallback-cut 3 --json | grep -qF '"text": "\n��"' || complain "a cut character in JSON"
[ "$(case_of generate-byte-fallback-cut 5 | od -An -tx1 | tr -d ' \n')" = 0af09f918d0a ] || complain "a whole character"
[ "$(case_of generate-nul-json 3 | od -An -tx1 | tr -d ' \n')" = 2074696d650020666c6965730a ] || complain "a NUL"
case_of generate-nul-json 3 --json | grep -qF '"text": " time\u0000 flies"' || complain "a NUL in JSON"
echo '{"prompt": "a\u0000b"}' >nul.jsonl
run --prompts nul.jsonl --max-tokens 1 --json | grep -qF '"prompt": "a\u0000b"' || complain "a NUL in a prompt"

# Wrong use and wrong files.
fails 2 'generate: name one model directory (see apriel-tool generate --help)' --prompt a
fails 2 'generate: --prompt or --prompts is needed, and not both' "$demo"
fails 2 'generate: --prompt or --prompts is needed, and not both' "$demo" --prompt a --prompts b
fails 2 '--temperature is -1, not 0 or more' "$demo" --prompt a --temperature -1
fails 2 '--top-p is 1.5, outside 0 (excluded) to 1' "$demo" --prompt a --top-p 1.5
fails 2 'generate: --max-tokens is 0, outside 1 to 2147483647' "$demo" --prompt a --max-tokens 0
fails 1 'the prompt has no tokens' "$demo" --prompt ''
printf '{"prompt": "a"}\n{"text": "b"}\n' >wrong.jsonl
fails 1 '"wrong.jsonl": line 2: one of "prompt", "messages" and "ids" is needed' "$demo" --prompts wrong.jsonl
printf '{"messages": [{"role": "user", "content": "a"}]}\n' >wrong.jsonl
fails 1 '"wrong.jsonl": line 1: "messages" need a chat template (--chat or --template)' "$demo" --prompts wrong.jsonl
printf '{"messages": [1]}\n' >wrong.jsonl
fails 1 '"wrong.jsonl": line 1: message 1 has no "role" as text' "$demo" --template chatml.jinja --prompts wrong.jsonl
printf '{"ids": [1, 99999]}\n' >wrong.jsonl
fails 1 "token 99999 is outside the model's vocabulary of 2048" "$demo" --prompts wrong.jsonl
printf '\n' >empty.jsonl
fails 1 '"empty.jsonl" has no prompts' "$demo" --prompts empty.jsonl

exit $bad
