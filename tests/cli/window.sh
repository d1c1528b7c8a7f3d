#!/bin/sh
# A window in the place of full attention, the whole way: mmr, whose probe trains nothing unless it is
# asked to, plan, convert, inspect, eval, generate and bench.
. "$(dirname "$0")/common.sh"
always=mmr

head -8 "$source/recipes/gsm8k-excerpt.jsonl" >texts.jsonl
"$program" data --tokenizer "$demo" --seq-len 64 -o rows.h5 texts.jsonl --quiet >out

# A probe measures once: what a window costs, without training. A wide window costs nothing.
"$program" mmr "$demo" --data rows.h5 --db a.db --kind window:8 --layers 1,4,9 --batch 2 --heldout 4 --json >found
grep -q '"steps": 0' found || complain "a probe without anything to train takes steps: $(cat found)"
before=$(grep -A1 '"heldout_rkl_before"' found | sed -n 's/.*"value": //p')
after=$(grep -A1 '"heldout_rkl_after"' found | sed -n 's/.*"value": //p')
[ "${before:-none}" = "$after" ] || complain "before and after differ: $(cat found)"
"$program" mmr "$demo" --data rows.h5 --db wide.db --kind window:64 --layers 4 --batch 2 --heldout 4 --json >wide
grep -A1 '"heldout_rkl_after"' wide | grep -qE '"value": (0|0\.0|-?[0-9.]+e-(0[6-9]|[1-9][0-9])),?$' ||
    complain "a window as long as the rows is not attention: $(cat wide)"
"$program" mmr "$demo" --data rows.h5 --db a.db --kind window:8 --train-window --layers 4 --steps 3 --batch 2 \
    --heldout 4 --json >trained
grep -q '"steps": 3' trained || complain "--train-window: $(cat trained)"
for metric in train_rkl_first heldout_rkl_after; do
    grep -q "\"$metric\"" trained || complain "--train-window: no $metric"
done
fails 2 '--d-state says nothing about window mixers' "$demo" --data rows.h5 --db a.db --kind window:8 --d-state 8
fails 2 '--kind: "window:0": window takes a whole number from 1 to 2147483647' "$demo" --data rows.h5 --db a.db --kind window:0
for kind in window window: window:x window:8: m2:8 windows:8 'window:-1' ''; do
    ! "$program" mmr "$demo" --data rows.h5 --db a.db --kind "$kind" >out 2>errors || complain "--kind '$kind' is taken"
done

# The plan says what by; conversion, and a second one on top, follow it.
"$program" plan --db a.db --run 1 --stages 1,2 -o plan.json --quiet >out
grep -q '"version": 2' plan.json || complain "the plan's version: $(cat plan.json)"
[ "$(grep -c '"mixer": "window:8"' plan.json)" = 3 ] || complain "the plan does not say by what: $(cat plan.json)"
grep -q '"layout": "[tw]*w[tw]*"' plan.json || complain "the plan's layout: $(cat plan.json)"
"$program" convert "$demo" --plan plan.json --stage 1 -o first --format apriel2 --quiet >out
"$program" convert "$demo" --from first --plan plan.json -o second --quiet >out
"$program" convert "$demo" --plan plan.json -o direct --format apriel2 --quiet >out
cmp second/model.safetensors direct/model.safetensors || complain "from a hybrid: other weights"
cmp second/config.json direct/config.json || complain "from a hybrid: another config"
grep -q '"window_size": 8' direct/config.json || complain "config.json: $(cat direct/config.json)"
grep -q '"kind": "window:8"' direct/apriel-tool.json || complain "provenance: $(cat direct/apriel-tool.json)"
always=convert
fails 1 "\"$demo\" has window mixers, which apriel-h1 cannot express; use --format native" "$demo" --plan plan.json -o x \
    --format apriel-h1
"$program" inspect direct >found 2>errors
[ "$(grep -c 'window:8: no attention to replace' found)" -ge 1 ] || complain "inspect: $(cat found)"

# Probes on top of it, whose base the database knows by its letters; a plan of both kinds.
"$program" mmr "$demo" --base first --data rows.h5 --db a.db --steps 1 --layers 0,5 --batch 2 --heldout 2 --json >found
run=$(sed -n 's/.*"run": \([0-9]*\).*/\1/p' found | head -1)
"$program" plan --db a.db --run "$run" --stages 2 -o on.json --quiet >out
grep -q '"layout": "[tw]*w[tmw]*m[tm]*"\|"layout": "[tm]*m[tm]*w[tw]*"' on.json || complain "a plan on top: $(cat on.json)"
"$program" convert "$demo" --from first --plan on.json -o on --quiet >out
"$program" plan --db a.db --run 1 --run "$run@1" --stages 2 -o both.json --quiet >out
"$program" convert "$demo" --plan both.json -o both --quiet >out
cmp on/model.safetensors both/model.safetensors || complain "a plan of both kinds: other weights than step by step"
! "$program" plan --plan on.json --format fast-llm >out 2>errors || complain "fast-llm: a window of no size"
grep -q 'name that hybrid as --model' errors || complain "fast-llm: $(cat errors)"
"$program" plan --plan on.json --format fast-llm --model first >found
grep -q 'window_size: 8' found || complain "fast-llm --model: $(cat found)"
# A schedule's first stage, which leave-one-out decides, is of the kind that is asked for.
"$program" plan --schedule 1,2 --model "$demo" --data rows.h5 --db way.db --work way --kind window:8 --auto \
    --quiet --mmr-options '--heldout 2' >out 2>errors || complain "a schedule: $(cat errors)"
[ "$(grep -o '"layout": "[tw]*"' way/plan.json | wc -l)" = 2 ] || complain "a schedule: $(cat way/plan.json)"
"$program" plan --schedule 1,2 --model "$demo" --data rows.h5 --db way.db --work way --kind window:8 \
    --mmr-options '--heldout 2' >script
grep -q -- '--kind window:8 -o way/plan-1.json' script || complain "a schedule's script: $(cat script)"
! "$program" plan --schedule 1,2 --model "$demo" --data rows.h5 --db way.db --work way --kind window:9 --auto \
    --quiet --mmr-options '--heldout 2' >out 2>errors || complain "a schedule of another kind goes on"
# A plan that says no kind leaves it to the conversion.
"$program" loo "$demo" --data rows.h5 --db loo.db --layers 0-2 --quiet >out
"$program" plan --db loo.db --run 1 --stages 1 -o loo.json --quiet >out
grep -q '"version": 1' loo.json || complain "a plan of layers alone: $(cat loo.json)"
"$program" convert "$demo" --plan loo.json --kind window:8 -o said --quiet >found
grep -qx 'new mixers: window:8; seed 0' found || complain "convert --plan --kind: $(cat found)"

# Mixed with another kind; every weight of the windows is the model's own.
"$program" convert "$demo" --from direct --layers 1,4,9 --kind m2 -o mixed --quiet >out 2>errors || complain "mixed: $(cat errors)"
"$program" inspect mixed --json >found
for word in window mamba; do
    grep -q "\"mixer\": \"$word\"" found || complain "mixed: $(cat found)"
done
"$program" convert "$demo" --layers 2 --kind window:8 --dry-run -o x --format apriel2 >found
grep -qx 'model.decoder.blocks.2.mixer.q_proj.weight .*<- model.layers.2.self_attn.q_proj.weight' found ||
    complain "a window's weights: $(cat found)"

# A window as long as the rows computes what the model computes; a short one what its mask says.
"$program" convert "$demo" --layers 0-11 --kind window:64 -o same --quiet >out
"$program" eval same --teacher "$demo" --data rows.h5 --rows 4 --json >found
grep -A1 '"kl"' found | grep -qE '(0|0\.0|-?[0-9.]+e-(0[6-9]|[1-9][0-9]))' || complain "eval: $(cat found)"
# Windows in all layers are what a Mistral with such a window computes.
mkdir mistral
cp "$demo"/* mistral/
sed -e 's/LlamaForCausalLM/MistralForCausalLM/' -e 's/"model_type": "llama"/"model_type": "mistral", "sliding_window": 8/' \
    "$demo/config.json" >mistral/config.json
"$program" convert "$demo" --layers 0-11 --kind window:8 -o all --quiet >out
"$program" eval all --teacher mistral --data rows.h5 --rows 4 --json >found
tr -d ' \n' <found | grep -qE '"kl":\{"value":(0|0\.0|-?[0-9.]+e-(0[6-9]|[1-9][0-9]))[,}]' || complain "not Mistral's windows: $(cat found)"
"$program" eval all --teacher "$demo" --data rows.h5 --rows 4 --json >found
! tr -d ' \n' <found | grep -qE '"kl":\{"value":(0|0\.0|-?[0-9.]+e-(0[6-9]|[1-9][0-9]))[,}]' || complain "a window of 8 changes nothing"
"$program" generate same --prompt "One and one is" --max-tokens 20 --quiet >same.text
"$program" generate "$demo" --prompt "One and one is" --max-tokens 20 --quiet >own.text
cmp same.text own.text || complain "generate: a window that sees everything writes another text"
"$program" generate direct --prompt "One and one is" --max-tokens 20 --quiet >out || complain "generate"
"$program" bench "$demo" --kind window:8 --layers 2 --prompt 4 --output 4 --batch 1 --json --quiet >found 2>errors ||
    complain "bench: $(cat found)"
"$program" plan --plan plan.json --format fast-llm >found
grep -q 'window_size: 8' found || complain "fast-llm: $(cat found)"
! "$program" plan --plan plan.json --format hf >found 2>errors || complain "hf says windows: $(cat found)"
exit $bad
