#!/bin/sh
# Models as other programs write them, with the cross-entropies that transformers computes
# (tests/oracle/make_foreign.py).
. "$(dirname "$0")/common.sh"

"$tests/make_tokens" rows.h5 32 <"$models/foreign-rows.jsonl"

# fresh NAME: a copy of foreign-NAME in ./m
fresh() {
    rm -rf m
    cp -r "$models/foreign-$1" m
    chmod -R u+w m
}
# tensors COMMAND...: of tests/edit_safetensors.c
tensors() {
    "$tests/edit_safetensors" m/model.safetensors "$@" || complain "edit_safetensors $*"
}
# config SCRIPT: sed on config.json
config() {
    sed -i "$1" m/config.json
}
# gives CE WHAT: ./m has this cross-entropy, to the rounding of float32
gives() {
    "$program" eval m --data rows.h5 --device cpu --quiet >found 2>errors || complain "$2: $(cat errors)"
    awk -v right="$1" '$1 == "ce" { good = ($2 - right) ^ 2 < 2.5e-11 } END { exit !good }' found ||
        complain "$2: $(cat found)"
}
# refuses MESSAGE WHAT: ./m is not opened
refuses() {
    "$program" inspect m >found 2>errors && complain "$2: accepted"
    [ "$(tail -n 1 errors)" = "apriel-tool: $1" ] || complain "$2: $(cat errors)"
}

# A tied model that stores the shared matrix once, under either name, with and without a word of it.
fresh llama
gives 4.040001 'the embedding alone'
tensors rename model.embed_tokens.weight lm_head.weight metadata model.embed_tokens.weight lm_head.weight
gives 4.040001 'the head alone, as safetensors.torch.save_model writes it'
fresh llama
tensors rename model.embed_tokens.weight lm_head.weight
gives 4.040001 'the head alone'
fresh llama
tensors copy model.embed_tokens.weight lm_head.weight
gives 4.040001 'both'
fresh llama
tensors rename model.embed_tokens.weight model.lm_head.weight
gives 4.040001 'the head alone, below the model'
fresh qwen2
tensors rename model.embed_tokens.weight lm_head.weight
gives 4.129527 'the head alone of a Qwen2'
fresh llama
tensors rename model.embed_tokens.weight lm_head.weight
config 's/"tie_word_embeddings": true/"tie_word_embeddings": false/'
refuses '"m": tensor "model.embed_tokens.weight" is missing' 'the head alone, but not tied'
tensors metadata model.embed_tokens.weight lm_head.weight
gives 4.040001 'not tied, but shared as the metadata says'
fresh llama
tensors drop model.embed_tokens.weight
refuses '"m": tensor "model.embed_tokens.weight" is missing' 'neither'

# Names.
fresh llama
tensors prefix model. ''
gives 4.040001 'names without model.'
config 's/LlamaForCausalLM/LlamaModel/'
gives 4.040001 'the class without a head'
tensors prefix '' module.model.
gives 4.040001 'names below module.model.'
grep -qF '"m": tensors are named "module.model.…" and read as "model.…"' errors || complain "a prefix is not said: $(cat errors)"
tensors rename module.model.embed_tokens.weight module.lm_head.weight
gives 4.040001 'a head below module.'
fresh mistral
tensors prefix model. base.
gives 4.506784 'names below base.'
fresh mistral
tensors prefix model. base. copy base.norm.weight base.layers.7.norm.weight
refuses '"m/model.safetensors": tensor "base.layers.7.norm.weight" has no place in the MistralForCausalLM with 3 layers that "m/config.json" describes' 'a layer too many'
fresh llama
config 's/"tie_word_embeddings": true/"tie_word_embeddings": false/'
tensors prefix model. ''
refuses '"m": tensor "lm_head.weight" is missing' 'a model without its head'

# Buffers that older programs saved, and tensors of something else.
fresh llama
for buffer in rotary_emb.inv_freq rotary_emb.cos_cached rotary_emb.sin_cached masked_bias bias; do
    tensors copy model.norm.weight "model.layers.0.self_attn.$buffer"
done
tensors copy model.norm.weight model.rotary_emb.inv_freq
gives 4.040001 'buffers'
[ ! -s errors ] || complain "buffers: $(cat errors)"

# An index beside the shards: buffers it leaves out, tensors and files it lists that nobody needs.
index() {
    fresh llama
    tensors copy model.norm.weight model.layers.1.self_attn.rotary_emb.inv_freq \
        copy model.norm.weight model.vision.patch.weight
    mv m/model.safetensors m/model-00001-of-00001.safetensors
    {
        printf '{"metadata": {"total_size": 0}, "weight_map": {'
        "$program" convert m-whole --layers 0 --d-state 4 --gate random --dry-run --format apriel2 --quiet |
            sed -n 's/.* <- \(model\.[a-z0-9_.]*\)$/\1/p' | sort -u >listed
        sed 's/.*/"&": "model-00001-of-00001.safetensors",/' listed
        for name in q_proj k_proj v_proj o_proj; do
            echo "\"model.layers.0.self_attn.$name.weight\": \"model-00001-of-00001.safetensors\","
        done
        cat
        printf '"model.vision.patch.weight": "model-00001-of-00001.safetensors"}}\n'
    } >m/model.safetensors.index.json
}
fresh llama
mv m m-whole
: | index
gives 4.040001 'an index without the buffer'
echo '"model.vision.second.weight": "model-00001-of-00001.safetensors",' | index
gives 4.040001 'an index with a tensor that nobody needs and no file has'
echo '"model.vision.second.weight": "model-00002-of-00002.safetensors",' | index
gives 4.040001 'an index with a file that nobody needs and is not there'
grep -qF '"m/model-00002-of-00002.safetensors", which "m/model.safetensors.index.json" lists, is missing; nothing in it is used' errors ||
    complain "a missing file is not said: $(cat errors)"
echo '"model.norm.weight": "model-00002-of-00002.safetensors",' | index
sed -i '/"model.norm.weight": "model-00001-of-00001.safetensors",/d' m/model.safetensors.index.json
refuses '"m/model-00002-of-00002.safetensors" is missing; "m/model.safetensors.index.json" lists it' 'a needed file'
: | index
sed -i '/"model.layers.1.mlp.up_proj.weight"/d' m/model.safetensors.index.json
refuses '"m/model-00001-of-00001.safetensors" has tensor "model.layers.1.mlp.up_proj.weight", which "m/model.safetensors.index.json" does not list' 'a needed tensor that the index leaves out'

# Numbers that are not finite, and repeated keys, as Python's json reads them.
for value in Infinity -Infinity NaN 1e999; do
    fresh llama
    config "s/\[0.0, Infinity\]/[0.0, $value]/"
    gives 4.040001 "$value"
done
fresh llama
config 's/"vocab_size": 32/"vocab_size": 99, "vocab_size": 32/'
gives 4.040001 'a repeated key'
fresh llama
config 's/"rms_norm_eps": 1e-06/"rms_norm_eps": Infinity/'
refuses '"m/config.json": "rms_norm_eps" must be a number, found Infinity' 'a used Infinity'
fresh llama
config 's/"rope_theta": 10000.0/"rope_theta": NaN/'
refuses '"m/config.json": "rope_theta" must be a number, found NaN' 'a used NaN'
fresh llama
config 's/"num_hidden_layers": 2/"num_hidden_layers": 1e400/'
refuses '"m/config.json": "num_hidden_layers" must be an integer, found Infinity' 'a used 1e400'

# The same in records: fields that are not used, a text that is none, a repeated key.
printf '%s\n' '{"text": "one two three", "score": NaN}' '{"text": "x", "text": "one two", "w": -Infinity}' \
    '{"text": NaN}' '{"text": "last", "n": 1e999}' >records.jsonl
"$program" data --tokenizer "$demo" -o records.h5 records.jsonl >found 2>errors || complain "records: $(cat errors)"
grep -qx 'rows  *3 .*' found && grep -qx 'tokens  *7 .*' found || complain "records: $(cat found)"

# null, as the classes read it.
fresh qwen2
gives 4.129527 'num_key_value_heads null'
config 's/"num_key_value_heads": null/"num_key_value_heads": 4/'
gives 4.129527 'num_key_value_heads 4'
config 's/"num_key_value_heads": 4,//'
refuses '"m/config.json": 32 key/value heads do not divide 4 query heads' 'num_key_value_heads absent'
fresh llama
config 's/"head_dim": 4/"head_dim": null/; s/"eos_token_id": 2/"eos_token_id": null/; s/"bos_token_id": 1/"bos_token_id": null, "rope_scaling": null/'
gives 4.040001 'null keys of a Llama'
fresh mistral
config 's/"head_dim": 4/"head_dim": null/'
gives 4.506784 'head_dim null of a Mistral'
for key in rms_norm_eps hidden_act; do
    fresh llama
    config "s/\"$key\": [^,]*,/\"$key\": null,/"
    refuses "\"m/config.json\": \"$key\" is null" "$key null"
done
fresh llama
config 's/"rope_theta": 10000.0/"rope_theta": null/'
refuses '"m/config.json": "rope_theta" is null' 'rope_theta null'

# A Mistral with layer_types: AutoConfig takes it for a Ministral.
fresh mistral
gives 4.506784 'windows in layers 0 and 2'
config 's/MistralForCausalLM/MinistralForCausalLM/; s/"mistral"/"ministral"/'
gives 4.506784 'a Ministral by its own name'
fresh mistral
config 's/"sliding_attention"/"x_attention"/; s/"full_attention"/"sliding_attention"/; s/"x_attention"/"full_attention"/'
sed -i '/layer_types/,/]/{s/"sliding_attention"$/"full_attention"/}' m/config.json
gives 4.707599 'a window in layer 1'
config 's/"sliding_attention"/"full_attention"/'
gives 4.805127 'no window'
fresh mistral
sed -i '/layer_types/,/],/d' m/config.json
gives 4.561925 'a Mistral: windows in all layers'
config 's/"sliding_window": 5/"sliding_window": null/'
gives 4.805127 'a Mistral without windows'

# Numbers of rope that transformers takes for absent.
fresh llama
config 's/"rope_theta": 10000.0,/"rope_theta": 10000.0, "factor": 4.0, "beta_fast": 0, "original_max_position_embeddings": 16,/; s/"rope_type": "default"/"rope_type": "yarn"/'
gives 4.002760 'beta_fast 0'

# Hybrids saved again by the model classes of Fast-LLM's tree, in transformers 4 and 5, and by Fast-LLM
# (tests/oracle/fast_llm_config.py); the values are those of tests/oracle/hybrid.py in float64.
"$tests/make_tokens" rows.h5 300 <"$models/foreign-rows.jsonl"
for saved in apriel-h1.hf4 apriel-h1.fast-llm apriel2.hf4 apriel2.hf5 apriel2.fast-llm; do
    rm -rf m
    cp -r "$models/${saved%%.*}" m
    chmod -R u+w m
    cp "$models/resaved/$saved.json" m/config.json
    case $saved in
    apriel2.*) gives 9.497494 "$saved" ;;
    *) gives 6.029726 "$saved" ;;
    esac
done

# Query and key norms with epsilons of their own.
epsilons() {
    rm -rf m
    "$program" convert "$models/qwen3" --layers 1 --kind m2 --d-state 8 -o m --format apriel2 --quiet >out 2>errors || complain "$(cat errors)"
    config "/\"query_norm\"/,/}/s/\"epsilon\": [^,]*/\"epsilon\": $1/; /\"key_norm\"/,/}/s/\"epsilon\": [^,]*/\"epsilon\": $2/"
}
epsilons 1e-6 1e-6
gives 10.813837 'epsilons as all others'
epsilons 10.0 1e-6
gives 10.931742 'query_norm.epsilon 10'
epsilons 1e-6 10.0
gives 10.993437 'key_norm.epsilon 10'
epsilons 10.0 0.5
gives 10.939032 'both'
epsilons 0.1 3.0
gives 10.991191 'both again'
exit $bad
