#!/bin/sh
# Paths that are no model's directory: what each is, and what to give instead; and what is a model's
# directory in another form.
. "$(dirname "$0")/common.sh"
always=inspect
export HOME="$temporary/home"
mkdir -p "$HOME"
unset HF_HOME HF_HUB_CACHE || :

# model DIR: a small one
model() {
    mkdir -p "$1"
    cp "$models/foreign-llama/config.json" "$models/foreign-llama/model.safetensors" "$1"
}

# The name on the hub; the same when its files are in the cache.
fails 1 '"meta-llama/Llama-3.1-8B" does not exist; if it is a name on the Hugging Face hub, download it (hf download meta-llama/Llama-3.1-8B --local-dir DIR) and give the directory' meta-llama/Llama-3.1-8B
cache=$HOME/.cache/huggingface/hub/models--org--name
mkdir -p "$cache/refs" "$cache/snapshots"
fails 1 "\"org/name\" does not exist; the model of this name on the Hugging Face hub is in \"$cache\": give that directory" org/name
HF_HOME=$temporary/elsewhere
export HF_HOME
fails 1 '"org/name" does not exist; if it is a name on the Hugging Face hub, download it (hf download org/name --local-dir DIR) and give the directory' org/name
mkdir -p elsewhere/hub/models--org--name
fails 1 "\"org/name\" does not exist; the model of this name on the Hugging Face hub is in \"$temporary/elsewhere/hub/models--org--name\": give that directory" org/name
unset HF_HOME
mkdir local
for path in nowhere ./org/name /org/name a/b/c models/.hidden local/mistyped; do
    fails 1 "\"$path\" does not exist" "$path"
done

# A cache's root stands for the snapshot of main, or its only one; everything finds it.
model "$cache/snapshots/0123abcd"
cp "$demo/tokenizer.json" "$cache/snapshots/0123abcd"
model "$cache/snapshots/4567ef01"
printf 4567ef01 >"$cache/refs/main"
"$program" inspect "$cache" >found 2>errors || complain "a cache: $(cat errors)"
grep -qxF "\"$cache\" is a model in the cache of the Hugging Face hub: taking \"$cache/snapshots/4567ef01\"" errors ||
    complain "a cache: $(cat errors)"
grep -q "^$cache/snapshots/4567ef01: LlamaForCausalLM" found || complain "a cache: $(cat found)"
printf '0123abcd\n' >"$cache/refs/main"
"$program" inspect "$cache" 2>errors | grep -q "^$cache/snapshots/0123abcd: " || complain "another commit: $(cat errors)"
echo '{"text": "one and two"}' >texts.jsonl
"$program" data --tokenizer "$cache" -o t.h5 texts.jsonl >found 2>errors || complain "a cache as a tokenizer: $(cat errors)"
rm -r "$cache/refs"
"$program" inspect "$cache" 2>errors | grep -q "^$cache/snapshots/0123abcd: " || complain "without refs: $(cat errors)"
printf '../../../etc' >"$cache/snapshots/x" && mkdir "$cache/refs" && printf '../..' >"$cache/refs/main"
"$program" inspect "$cache" 2>errors | grep -q "^$cache/snapshots/0123abcd: " || complain "a ref that is no commit: $(cat errors)"
fails 1 "\"$HOME/.cache/huggingface/hub\" has no config.json; \"$HOME/.cache/huggingface/hub/models--org--name\" has a model" "$HOME/.cache/huggingface/hub"
ln -sf ../../blobs/gone "$cache/snapshots/0123abcd/model.safetensors"
always="inspect --quiet"
fails 1 "cannot open \"$cache/snapshots/0123abcd/model.safetensors\": it is a link to \"../../blobs/gone\", which is not there" "$cache"
always=inspect

# As the hub's library leaves it: links to blobs. Tokenizer, chat template and weights are all found.
cache=$HOME/.cache/huggingface/hub/models--org--demo
mkdir -p "$cache/blobs" "$cache/snapshots/89ab"
for file in "$demo"/*; do
    cp "$file" "$cache/blobs/$(basename "$file").blob"
    ln -s "../../blobs/$(basename "$file").blob" "$cache/snapshots/89ab/$(basename "$file")"
done
echo '{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}' >"$cache/snapshots/89ab/chat_template.jinja"
"$program" generate "$cache" --chat --prompt 'One and two' --max-tokens 2 >found 2>errors || complain "generate on a cache: $(cat errors)"
[ "$(grep -c 'taking' errors)" = 1 ] || complain "the snapshot is said $(grep -c 'taking' errors) times"
"$program" convert "$cache" --layers 0 -o made >found 2>errors || complain "convert on a cache: $(cat errors)"
[ -f made/tokenizer.json ] && [ ! -L made/tokenizer.json ] || complain "convert on a cache leaves the tokenizer out"
rm -r made "$cache"

# A file of the model; other programs' files.
model m
fails 1 '"m/config.json" is a file: give the model'"'"'s directory, "m"' m/config.json
fails 1 '"m/model.safetensors" is a file: give the model'"'"'s directory, "m"' m/model.safetensors
cp m/model.safetensors alone.safetensors
fails 1 '"alone.safetensors" is not a directory with a model in it' alone.safetensors
printf GGUF >m.gguf
fails 1 '"m.gguf" is GGUF, which is not read: give the directory with config.json and safetensors that it was made from' m.gguf
mkdir g
mv m.gguf g
fails 1 '"g" has its weights as "m.gguf", in GGUF, which is not read: save the model as safetensors (from_pretrained, then save_pretrained)' g
other() {
    rm -rf m
    model m
    rm m/model.safetensors
    : >"m/$1"
    fails 1 "\"m\" has its weights as \"$1\", in $2, which is not read: save the model as safetensors (from_pretrained, then save_pretrained)" m
}
other pytorch_model.bin "PyTorch's format"
other pytorch_model-00001-of-00002.bin "PyTorch's format"
other consolidated.safetensors "Mistral's own layout"
other consolidated.00.pth "Meta's own layout"
other model.gguf GGUF
other tf_model.h5 "TensorFlow's format"
rm -rf m
model m
mv m/model.safetensors m/model-00001-of-00001.safetensors
fails 1 '"m" has "model-00001-of-00001.safetensors", but no model.safetensors.index.json that lists the shards' m
rm m/*.safetensors
fails 1 '"m" has neither model.safetensors nor model.safetensors.index.json (--random-weights SEED makes weights up from config.json)' m

# An adapter, with its model's name and without, with a config.json and without.
mkdir lora
echo '{"base_model_name_or_path": "org/base", "peft_type": "LORA"}' >lora/adapter_config.json
: >lora/adapter_model.safetensors
lora='is an adapter (LoRA), not a model: merge it into its base model, "org/base", first'
fails 1 "\"lora\" $lora (PEFT's merge_and_unload)" lora
cp "$models/foreign-llama/config.json" lora
fails 1 "\"lora\" $lora (PEFT's merge_and_unload)" lora
echo '{' >lora/adapter_config.json
fails 1 "\"lora\" is an adapter (LoRA), not a model: merge it into its base model first (PEFT's merge_and_unload)" lora

# Files that git left for git-lfs to fetch.
pointer() {
    printf 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n' >"$1"
}
rm -rf m
model m
pointer m/model.safetensors
fails 1 '"m/model.safetensors" is a git-lfs pointer, not the file itself: fetch it with git lfs pull' m
pointer m/config.json
fails 1 '"m/config.json" is a git-lfs pointer, not the file itself: fetch it with git lfs pull' m
pointer m/tokenizer.json
always='data -o x.h5 texts.jsonl --tokenizer'
fails 1 '"m/tokenizer.json" is a git-lfs pointer, not the file itself: fetch it with git lfs pull' m
rm m/tokenizer.json
fails 1 'cannot open "m/tokenizer.json": No such file or directory' m
: >m/tokenizer.model
fails 1 '"m" has tokenizer.model only, which is not read: write a tokenizer.json (AutoTokenizer.from_pretrained, then save_pretrained)' m
fails 1 '"org/other" does not exist; if it is a name on the Hugging Face hub, download it (hf download org/other --local-dir DIR) and give the directory' org/other

# ~ inside quotes.
always=inspect
# shellcheck disable=SC2088 # the tilde is meant
fails 1 "\"~/model\" does not exist; a shell replaces ~ outside quotes only (it is \"$HOME/model\", which is not there)" '~/model'
model "$HOME/model"
# shellcheck disable=SC2088 # the tilde is meant
fails 1 "\"~/model\" does not exist; a shell replaces ~ outside quotes only (it is \"$HOME/model\", which is there)" '~/model'
always="loo $demo --db s.db --data"
# shellcheck disable=SC2088 # the tilde is meant
fails 1 "cannot open \"~/t.h5\": No such file or directory; a shell replaces ~ outside quotes only (it is \"$HOME/t.h5\", which is not there)" '~/t.h5'

# A directory above the models.
always=inspect
mkdir -p runs
model runs/checkpoint-100
model runs/checkpoint-200
fails 1 '"runs" has no config.json; "runs/checkpoint-100" has a model' runs
mkdir empty
fails 1 '"empty" has no config.json' empty

# Not allowed is not absent.
rm -rf m
model m
if setpriv --reuid=65534 --regid=65534 --clear-groups "$program" version >out 2>&1; then
    chmod 755 . "$temporary"
    nobody() {
        found=0
        setpriv --reuid=65534 --regid=65534 --clear-groups "$program" inspect m >out 2>errors || found=$?
        [ $found -eq 1 ] && [ "$(cat errors)" = "apriel-tool: $1" ] || complain "not allowed: $(cat errors)"
    }
    chmod 600 m/model.safetensors
    nobody 'cannot open "m/model.safetensors": Permission denied'
    chmod 600 m/config.json
    nobody 'cannot open "m/config.json": Permission denied'
    chmod 700 m
    nobody 'cannot open "m/config.json": Permission denied'
    mkdir closed
    mv m closed
    ln -s closed/m m
    chmod 700 closed
    nobody 'cannot open "m": Permission denied'
fi
exit $bad
