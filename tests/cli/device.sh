#!/bin/sh
# --device auto on a machine without a GPU: the note about it comes when work begins, so wrong input
# still gives one line.
. "$(dirname "$0")/common.sh"

export CUDA_VISIBLE_DEVICES= # hides a GPU that is there

"$tests/make_tokens" rows.h5 2048 <"$golden/ids.jsonl"
head -n 1 "$golden/ids.jsonl" | "$tests/make_tokens" one.h5 2048
printf '%s\n' '{"question": "one?", "choices": ["a", "b"]}' >broken.jsonl

# refused ARGUMENTS...
refused() {
    if "$program" "$@" >out 2>errors; then complain "$*: not refused"; fi
    [ "$(wc -l <errors)" -eq 1 ] || complain "$*: not one line: $(cat errors)"
    case $(cat errors) in 'apriel-tool: '*) ;; *) complain "$*: $(cat errors)" ;; esac
}
for command in loo mmr; do
    refused $command "$models/qwen3" --data rows.h5 --db a.db # ids beyond its vocabulary
    refused $command "$demo" --data rows.h5 --db a.db --layers 12
    refused $command missing --data rows.h5 --db a.db
done
refused eval "$models/qwen3" --data rows.h5
refused eval "$demo" --teacher "$models/qwen3" --data rows.h5
refused eval "$demo" --task mmlu=broken.jsonl
refused eval "$demo" --task gsm8k=missing.jsonl
refused eval "$demo" --task nothing=broken.jsonl
refused generate missing --prompt a
refused bench "$demo" --layers 13

# noted ARGUMENTS...: the note is there once
noted() {
    "$program" "$@" >out 2>errors || complain "$*: $(cat errors)"
    [ "$(grep -c '^device: cpu (.*)$' errors)" -eq 1 ] || complain "$*: $(cat errors)"
}
noted loo "$demo" --data rows.h5 --db a.db --layers 11
noted mmr "$demo" --data rows.h5 --db a.db --layers 11 --steps 1 --batch 1 --heldout 1
noted eval "$demo" --data one.h5
noted eval "$demo" --task recall --lengths 32 --items 1
noted generate "$demo" --prompt a --max-tokens 1
noted bench "$demo" --layers 0 --batch 1 --output 1
exit $bad
