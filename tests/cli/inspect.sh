#!/bin/sh
# apriel-tool inspect, and every way a checkpoint can be wrong, with its one-line message.
. "$(dirname "$0")/common.sh"
always=inspect

# A fresh copy of the demo model in ./m.
fresh() {
    rm -rf m
    cp -r "$demo" m
    chmod -R u+w m
}

# What it prints.
"$program" inspect "$demo" --layers-replaced 0,6 >found 2>errors
! grep -v "^next: " errors || complain "prints to stderr"
for line in '12 layers, hidden 128, MLP 384, vocabulary 2048, 4 query and 2 key/value heads of 32' \
    'all                   2624640    5.25 MB  100.0%' \
    '  0-11      attention: can be replaced' \
    'key/value cache: 3.07 kB per token (BF16)' \
    '  6 of 12     5.68 MB        1.54 kB       112 kB          25.3 MB    49.8%' \
    'hybrids can be written as' '  granite-hybrid  with mamba2' '  native          with window:N' \
    '  qwen3.5         no: it cannot express attention without query and key norms' \
    '  apriel-h1       with m2' '  apriel2         with m2, window:N, gdn'; do
    grep -qxF -e "$line" found || complain "no line \"$line\""
done
"$program" inspect "$demo" --json >found
grep -q '"replaceable_layers": 12' found || complain "--json: no replaceable_layers"
grep -q '"fingerprint": "0b3aa028' found || complain "--json: another fingerprint"

# What a hybrid weighs is what convert writes, to the byte, in every type and with every bias.
for model in "$demo" "$models/llama-f16" "$models/llama-f32-bare" "$models/llama-rope-linear-biases" \
    "$models/mistral-window" "$models/qwen2-tied" "$models/qwen2-window" "$models/qwen3" "$models/foreign-llama" \
    "$models/apriel2"; do
    layers=0,1
    [ "$model" = "$models/apriel2" ] && layers=$("$program" inspect "$model" | awk '/ mamba, / { print $1 }' | tr '\n' ,)0
    count=2
    [ "$model" = "$models/apriel2" ] && count=1
    "$program" inspect "$model" --layers-replaced $count --json >found 2>/dev/null || continue
    grep -q '"hybrids": \[\]' found && continue
    rm -rf weighed
    "$program" convert "$model" --layers "$layers" -o weighed --quiet >out 2>&1 || complain "$model: $(cat out)"
    "$tests/edit_safetensors" weighed/model.safetensors sum - >sum
    grep -qxF "      \"bytes\": $(cat sum)," found || complain "$model: convert writes $(cat sum) bytes, not what inspect says"
done
"$program" inspect "$models/qwen3" >found
for line in '  granite-hybrid  no: it cannot express query and key norms' '  qwen3.5         with gdn' \
    '  native          with window:N' '  apriel-h1       no: it cannot express query and key norms' \
    '  apriel2         with m2, window:N, gdn'; do
    grep -qxF -e "$line" found || complain "formats: no line \"$line\": $(cat found)"
done

# Heads of zeros that a format needs are counted and shown.
mkdir narrow
sed -e 's/"num_attention_heads": 4/"num_attention_heads": 2/' -e 's/"num_key_value_heads": 2/"num_key_value_heads": 1/' \
    "$demo/config.json" >narrow/config.json
"$program" inspect narrow --random-weights 1 --layers-replaced 0,1 >found
grep -q '^a Mamba-2 mixer here: n_heads 4, d_head 32, n_groups 4, ' found || complain "heads of zeros: $(cat found)"
"$program" convert narrow --random-weights 1 --layers 0 -o padded --quiet >out
weight=$("$program" inspect padded | sed -n 's/^padded: .*, \([0-9.]* MB\)$/\1/p')
grep -q "^ *1 of 12 *$weight " found || complain "$weight, but $(cat found)"

# A model of which only the config is there.
mkdir only
cp "$demo/config.json" only/
fails 1 '"only" has neither model.safetensors nor model.safetensors.index.json (--random-weights SEED makes weights up from config.json)' only
"$program" inspect only --random-weights 1 >found
grep -q 'made-up weights' found || complain "--random-weights: not said"

# Hybrids.
"$program" inspect "$source/tests/data/models/apriel-h1" >found
grep -qxF '  1         mamba, d_state 8, dt_rank 3, d_conv 4: no attention to replace' found ||
    complain "a hybrid: $(cat found)"

# Wrong usage.
fails 2 'inspect: name one model directory (see apriel-tool inspect --help)'
fails 2 '--layers-replaced: "13" goes outside 0 to 12' "$demo" --layers-replaced 13
fails 1 '"nowhere" does not exist' nowhere
fails 1 "\"$demo/config.json\" is a file: give the model's directory, \"$demo\"" "$demo/config.json"

# Broken files. The demo model's header is at 8; its length stands before it.
fresh
head -c 1000000 "$demo/model.safetensors" >m/model.safetensors
set +e
"$program" inspect m >out 2>errors
[ $? -eq 1 ] || complain "a truncated file passes"
set -e
grep -Eqx 'apriel-tool: "m/model.safetensors": tensor "[a-z0-9_.]+" ends at byte [0-9]+ of [0-9]+: truncated file or wrong offsets' errors ||
    complain "truncated: $(cat errors)"
fresh
printf '\377\377\377\377\377\377\377\177' | dd of=m/model.safetensors conv=notrunc status=none
fails 1 '"m/model.safetensors": the header claims 9223372036854775807 bytes, but only 5261088 follow: truncated, or not safetensors' m
fresh
printf 'abc' >m/model.safetensors
fails 1 '"m/model.safetensors" has 3 bytes, too short for safetensors' m

# A config that contradicts its tensors.
fresh
sed -i 's/"intermediate_size": 384/"intermediate_size": 256/' m/config.json
fails 1 '"m/model.safetensors": tensor "model.layers.0.mlp.gate_proj.weight" has shape [384, 128], but "m/config.json" implies [256, 128]' m
fresh
sed -i 's/"num_hidden_layers": 12/"num_hidden_layers": 11/' m/config.json
fails 1 '"m/model.safetensors": tensor "model.layers.11.input_layernorm.weight" has no place in the LlamaForCausalLM with 11 layers that "m/config.json" describes' m
fresh
sed -i 's/"num_hidden_layers": 12/"num_hidden_layers": 13/' m/config.json
fails 1 '"m": tensor "model.layers.12.input_layernorm.weight" is missing' m
fresh
sed -i 's/"silu"/"gelu"/' m/config.json
fails 1 '"m/config.json": "hidden_act" is "gelu"; only silu is supported' m
fresh
sed -i 's/LlamaForCausalLM/GemmaForCausalLM/' m/config.json
fails 1 '"m/config.json": architecture "GemmaForCausalLM" is not supported (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, AprielHybridSSMForCausalLM, Apriel2ForCausalLM, GraniteMoeHybridForCausalLM or Qwen3_5ForCausalLM)' m

# Shards.
shards() {
    rm -rf m
    cp -r "$source/tests/data/models/llama-sharded" m
    chmod -R u+w m
}
shards
"$program" inspect m >found
grep -q '^m: LlamaForCausalLM' found || complain "shards: $(cat found)"
rm m/model-00002-of-00002.safetensors
fails 1 '"m/model-00002-of-00002.safetensors" is missing; "m/model.safetensors.index.json" lists it' m
shards
head -c 20000 "$source/tests/data/models/llama-sharded/model-00002-of-00002.safetensors" >m/model-00002-of-00002.safetensors
set +e
"$program" inspect m >out 2>errors
[ $? -eq 1 ] || complain "a truncated shard passes"
set -e
grep -q '^apriel-tool: "m/model-00002-of-00002.safetensors": tensor ".*" ends at byte .*truncated file or wrong offsets$' errors ||
    complain "truncated shard: $(cat errors)"
shards
sed -i 's/"model.norm.weight": "[^"]*"/"model.norm.weight": "..\/evil.safetensors"/' m/model.safetensors.index.json
fails 1 '"m/model.safetensors.index.json": tensor "model.norm.weight": "../evil.safetensors" is not a file name in the same directory' m
shards
sed -i '/"model.norm.weight": /d' m/model.safetensors.index.json
sed -i 's/\("model.layers.2.self_attn.v_proj.weight": "[^"]*"\),/\1/' m/model.safetensors.index.json
set +e
"$program" inspect m >out 2>errors
[ $? -eq 1 ] || complain "a tensor that the index does not list passes"
set -e
grep -q 'has tensor "model.norm.weight", which "m/model.safetensors.index.json" does not list$' errors ||
    complain "unlisted tensor: $(cat errors)"
shards
sed -i 's/"model.norm.weight": "[^"]*"/"model.norm.weight": "model-00001-of-00002.safetensors"/' m/model.safetensors.index.json
fails 1 '"m/model.safetensors.index.json" places tensor "model.norm.weight" in "model-00001-of-00002.safetensors", which does not have it' m

exit $bad
