#!/bin/sh
# Hybrids as stock architectures hold them, written and read back as input of the commands; what they
# cannot hold, and configurations that would compute something else.
. "$(dirname "$0")/common.sh"

head -n 4 "$golden/ids.jsonl" | "$tests/make_tokens" rows.h5 2048
"$tests/make_tokens" small.h5 300 <"$models/foreign-rows.jsonl" || complain "rows of the small models"

# value FILE: of kl, in `eval --json`
kl() {
    tr -d ' \n' <"$1" | sed 's/.*"kl":{"value":\([^,}]*\).*/\1/'
}
nothing() { # evaluates OUT against MODEL: the same function
    "$program" eval "$2" --teacher "$1" --data "$3" --device cpu --json --quiet >found || complain "eval $2"
    kl found | grep -qE '^(0|-?0\.0|-?[0-9.]+e-(0[89]|[1-9][0-9]))$' || complain "$2 computes something else than $1: kl $(kl found)"
}

# With nothing replaced it is the model.
convert() {
    "$program" convert "$@" --quiet >out 2>errors || complain "convert $*: $(cat errors)"
}
convert "$demo" --layers none -o g0
grep -q GraniteMoeHybridForCausalLM g0/config.json || complain "not Granite's class by itself: $(cat g0/config.json)"
nothing "$demo" g0 rows.h5
convert "$models/qwen2-tied" --layers none -o q2
grep -q '"attention_bias": true' q2/config.json || complain "no biases: $(cat q2/config.json)"
nothing "$models/qwen2-tied" q2 small.h5
convert "$models/llama-rope-llama3" --layers none -o l3
nothing "$models/llama-rope-llama3" l3 small.h5
convert "$models/qwen3" --layers none -o q3
grep -q Qwen3_5ForCausalLM q3/config.json || complain "not Qwen3.5's class by itself: $(cat q3/config.json)"
nothing "$models/qwen3" q3 small.h5
convert "$demo" --layers none --format native -o n0
nothing "$demo" n0 rows.h5

# Some layers replaced: in one file, in several, and from a hybrid that has some of them already.
convert "$demo" --layers 2,7 --kind mamba2 -o g2
convert "$demo" --layers 2,7 --kind mamba2 --max-shard-size 1M -o shards
convert "$demo" --layers 7 --kind mamba2 -o g1
convert "$demo" --from g1 --layers 2,7 --kind mamba2 -o on
cmp on/model.safetensors g2/model.safetensors || complain "from a hybrid: other weights"
cmp on/config.json g2/config.json || complain "from a hybrid: another configuration"
[ "$(find shards -name '*.safetensors' | wc -l)" -gt 3 ] || complain "no shards: $(ls shards)"
nothing g2 shards rows.h5
"$program" inspect g2 >found
[ "$(grep -c '^  [27] *mamba2[a-z0-9_, ]*: no attention to replace$' found)" = 2 ] || complain "inspect: $(cat found)"
for directory in g2 shards; do
    "$program" generate $directory --prompt "Natalia sold" --max-tokens 12 --device cpu --quiet >$directory.text ||
        complain "generate $directory"
done
[ -s g2.text ] && cmp g2.text shards.text || complain "generate: other text from shards"
"$program" loo "$demo" --base g2 --data rows.h5 --db a.db --layers 0,11 --device cpu --quiet >out || complain "loo --base"
"$program" loo g2 --data rows.h5 --db b.db --layers 0,11 --device cpu --quiet >out || complain "loo"
"$program" mmr "$demo" --base g2 --data rows.h5 --db a.db --kind mamba2 --layers 5 --steps 1 --batch 1 --heldout 1 \
    --device cpu --quiet >out || complain "mmr --base"
"$program" bench g2 --prompt 4 --output 4 --batch 1 --device cpu --quiet >out 2>errors || complain "bench: $(cat errors)"

# What is put there when nothing is said: what the model's stock architecture holds, unless an option
# or the format says another; what a plan says wins, and one of an older release meant its probes' Mamba.
is() { # WORD ARGUMENTS...: the architecture or kind that such a conversion has
    word=$1
    shift
    "$program" convert "$@" --dry-run --quiet >found 2>errors || complain "convert $*: $(cat errors)"
    grep -q "$word" found || complain "convert $*: no $word: $(tail -n 2 found)"
}
is '^new mixers: mamba2, ' "$demo" --layers 3
is '^would write a checkpoint: GraniteMoeHybridForCausalLM, ' "$demo" --layers 3
is '^new mixers: mamba2, ' "$models/qwen2-tied" --layers 1
is '^new mixers: gdn, ' "$models/qwen3" --layers 1
is '^would write a checkpoint: Qwen3_5ForCausalLM, ' "$models/qwen3" --layers 1
is '^would write a checkpoint: AprielHybridSSMForCausalLM, .* Mamba ' "$demo" --layers 3 --init published
is '^would write a checkpoint: AprielHybridSSMForCausalLM, .* Mamba ' "$demo" --layers 3 --format apriel-h1
is '^would write a checkpoint: Apriel2ForCausalLM, .* Mamba ' "$demo" --layers 3 --format apriel2
is '^new mixers: gdn, ' "$models/qwen3" --layers 1 --format apriel2
is '^would write a checkpoint: .* Mamba ' "$models/mistral-window" --layers 1 --d-state 8
is '^would write a checkpoint: Apriel2ForCausalLM, ' "$models/apriel2" --layers 0-2
"$program" mmr "$demo" --data rows.h5 --db plans.db --layers 3,8 --steps 1 --batch 1 --heldout 1 --device cpu --quiet >out
"$program" mmr "$demo" --data rows.h5 --db plans.db --kind m2 --layers 3,8 --steps 1 --batch 1 --heldout 1 --device cpu --quiet >out
"$program" loo "$demo" --data rows.h5 --db plans.db --layers 3,8 --device cpu --quiet >out
for run in 1 2 3; do "$program" plan --db plans.db --run $run --stages 2 -o plan-$run.json --quiet >out; done
is '^new mixers: mamba2, ' "$demo" --plan plan-1.json
is ' layers Mamba ' "$demo" --plan plan-2.json
is '^new mixers: mamba2, ' "$demo" --plan plan-3.json
sed -e 's/"version": 2/"version": 1/' -e 's/, "mixer": "m2"//' plan-2.json >older.json
is ' layers Mamba ' "$demo" --plan older.json
"$program" plan --db plans.db --run 3 --run 2@1 --stages 2 -o both.json --quiet >out
[ "$(grep -c '"mixer": "m2"' both.json)" = 2 ] || complain "a plan of both: $(cat both.json)"

# A model card beside it, the licence of the model, and what the plan scored.
mkdir licensed
readme=README.md
cp "$demo"/* licensed/
echo "as is" >licensed/LICENSE.txt
echo "be kind" >licensed/NOTICE
printf -- '---\nlanguage: en\nlicense: apache-2.0\n---\nA model.\n' >"licensed/$readme"
"$program" loo licensed --data rows.h5 --db card.db --layers 3,8 --device cpu --quiet >out
"$program" plan --db card.db --stages 2 -o card.json --quiet >out
convert licensed --plan card.json --kind mamba2 -o card
card=card/$readme
cmp card/LICENSE.txt licensed/LICENSE.txt && cmp card/NOTICE licensed/NOTICE || complain "the licence is not there"
for line in 'base_model: "licensed"' 'license: apache-2.0' '# A hybrid of licensed' '| 3 | mamba2 |' \
    "The base model's licence applies: \`LICENSE.txt\`, \`NOTICE\`." \
    'Needs transformers 5.23 or later, without custom code.'; do
    grep -qxF -e "$line" "$card" || complain "the card lacks \"$line\": $(cat "$card")"
done
[ "$(grep -c '^| [38] | mamba2 | kl | [0-9.]* | [0-9.e-]* |$' "$card")" = 2 ] || complain "scores: $(cat "$card")"
convert "$demo" --layers 0-11 --kind mamba2 -o whole
grep -q 'model.config.use_cache = False' "whole/$readme" || complain "no use_cache: $(cat "whole/$readme")"
grep -q '^- \*\*Mind\*\*: no attention layer is left' "whole/$readme" || complain "no warning: $(cat "whole/$readme")"

# Files that transformers saved; layers as it calls them since 5.15 and before.
for model in granite-hybrid qwen3.5; do
    "$program" eval "$models/$model" --data small.h5 --device cpu --quiet >$model.found || complain "eval $model"
done
cp -r "$models/granite-hybrid" legacy
sed -e 's/linear_attention/mamba/' -e 's/full_attention/attention/' "$models/granite-hybrid/config.json" >legacy/config.json
"$program" eval legacy --data small.h5 --device cpu --quiet >found
[ "$(tail -n +2 found)" = "$(tail -n +2 granite-hybrid.found)" ] || complain "legacy names: $(cat found)"

# What would compute something else is refused by name.
always=inspect
cp -r "$models/granite-hybrid" m
change() { # MODEL SED
    sed "$2" "$models/$1/config.json" >m/config.json
}
refuses() { # MODEL SED MESSAGE
    change "$1" "$2"
    fails 1 "\"m/config.json\": $3" m
}
refuses granite-hybrid 's/"num_local_experts": 0/"num_local_experts": 8/' '"num_local_experts": mixtures of experts are not supported'
refuses granite-hybrid '/"num_local_experts"/d' '"num_local_experts" is missing'
refuses granite-hybrid 's/"attention_multiplier": 0.25/"attention_multiplier": 0.5/' '"attention_multiplier" 0.5 is not supported; only 0.25 is'
refuses granite-hybrid 's/"residual_multiplier": 1.0/"residual_multiplier": 0.22/' '"residual_multiplier" 0.22 is not supported; only 1 is'
refuses granite-hybrid 's/"embedding_multiplier": 1.0/"embedding_multiplier": 12/' '"embedding_multiplier" 12 is not supported; only 1 is'
refuses granite-hybrid 's/"logits_scaling": 1.0/"logits_scaling": 8/' '"logits_scaling" 8 is not supported; only 1 is'
refuses granite-hybrid 's/"position_embedding_type": "rope"/"position_embedding_type": null/' '"position_embedding_type" is "none"; only rope is supported'
refuses granite-hybrid 's/"__float__": "Infinity"/"__float__": "NaN"/' '"time_step_limit": steps that are limited are not supported'
refuses granite-hybrid 's/"full_attention"/"sliding_attention"/' '"layer_types": "sliding_attention" in layer 1 is not supported'
refuses qwen3.5 's/"partial_rotary_factor": 1.0,//' '"partial_rotary_factor" 0.25: rope on a part of each head is not supported'
refuses qwen3.5 's/"attention_bias": false/"attention_bias": true/' '"attention_bias": attention biases beside an output gate are not supported'
refuses qwen3.5 's/"linear_key_head_dim": 16,//' '"linear_key_head_dim" is missing'
change granite-hybrid 's/"__float__": "Infinity"/"__float__": "Infinity"/'
"$program" inspect m >out 2>errors || complain "saved limits: $(cat errors)"
tr -d '\n' <m/config.json | sed 's/{ *"__float__": "Infinity" *}/Infinity/' >older
mv older m/config.json
grep -q 'Infinity' m/config.json || complain "no Infinity"
"$program" inspect m >out 2>errors || complain "older limits: $(cat errors)"

# An output gate that was trained elsewhere: one value behind the queries of the last head.
rm -r m
cp -r "$models/qwen3.5" m
header=$(od -An -t u8 -N 8 m/model.safetensors | tr -d ' ')
query=$(head -c $((8 + header)) m/model.safetensors | tail -c "$header" |
    sed 's/.*"model.layers.1.self_attn.q_proj.weight":{[^}]*"data_offsets":\[\([0-9]*\),.*/\1/')
printf '\077' | dd of=m/model.safetensors bs=1 conv=notrunc seek=$((8 + header + query + 2 * 64 * (256 - 1) + 1)) 2>errors
fails 1 '"m/model.safetensors": tensor "model.layers.1.self_attn.q_proj.weight" has an output gate that was trained, which is not supported; keep the gate'"'"'s rows zero (freeze them) while training' m

# Teachers and kinds that an architecture cannot hold.
always=convert
fails 1 "\"$models/qwen3\" has query and key norms, which granite-hybrid cannot express; no format does yet" \
    "$models/qwen3" --layers 0 --kind mamba2 --format granite-hybrid -o x
fails 1 "\"$models/qwen3\" has query and key norms, which granite-hybrid cannot express; use --format qwen3.5" \
    "$models/qwen3" --layers none --format granite-hybrid -o x
fails 1 "\"$demo\" has attention without query and key norms, which qwen3.5 cannot express; use --format apriel2" \
    "$demo" --layers 0 --kind gdn --format qwen3.5 -o x
fails 1 "\"$demo\" has Mamba mixers, which granite-hybrid cannot express; use --format apriel-h1" \
    "$demo" --layers 0 --kind m2 --format granite-hybrid -o x
fails 1 "\"$demo\" has Mamba-2 mixers, which native cannot express; use --format granite-hybrid" \
    "$demo" --layers 0 --kind mamba2 --format native -o x
fails 1 "\"$models/mistral-window\" has sliding windows, which granite-hybrid cannot express; no format does yet" \
    "$models/mistral-window" --layers 0 --kind mamba2 --format granite-hybrid -o x
fails 1 "\"$models/llama-rope-linear-biases\" has MLP biases, which granite-hybrid cannot express; no format does yet" \
    "$models/llama-rope-linear-biases" --layers 0 --kind mamba2 --format granite-hybrid -o x

# Windows in the model's own architecture, which are known again as what they replaced.
always=
convert "$demo" --layers 1,2,4 --kind window:8 -o w
grep -q MinistralForCausalLM w/config.json || complain "a Llama's windows: $(cat w/config.json)"
grep -q '"sliding_window": 8' w/config.json || complain "a Llama's windows: $(cat w/config.json)"
"$program" inspect w >found
[ "$(grep -c 'window:8: no attention to replace' found)" = 2 ] || complain "inspect: $(cat found)"
convert "$demo" --layers 1,2,4 --kind window:8 --format apriel2 -o w2
nothing w2 w rows.h5
convert "$models/qwen3" --layers 1 --kind window:4 -o w3
grep -q Qwen3ForCausalLM w3/config.json || complain "a Qwen3's windows: $(cat w3/config.json)"
convert "$models/qwen2-tied" --layers 1 --kind window:4 -o w4
grep -q Qwen2ForCausalLM w4/config.json || complain "a Qwen2's windows: $(cat w4/config.json)"
convert "$models/qwen3" --layers 1 --kind window:4 --format apriel2 -o w5
nothing w5 w3 small.h5
exit $bad
