#!/bin/sh
# apriel-tool convert: choices, refusals, and that whatever happens (kill -9, a full disk) nothing
# half-written can be taken for a checkpoint.
. "$(dirname "$0")/common.sh"
always=convert

# A hybrid, and the same command again: refused, and the first result untouched.
"$program" convert "$demo" --kind m2 --layers 0,3,5 -o hybrid --seed 7 >found 2>errors
! grep -v "^next: \|^or:   " errors || complain "prints to stderr"
grep -qxF 'wrote hybrid: AprielHybridSSMForCausalLM, 3 of 12 layers Mamba (0,3,5), new: 0,3,5; 5.39 MB' found ||
    complain "summary: $(cat found)"
[ "$(cd hybrid && echo *)" = 'README.md apriel-tool.json config.json generation_config.json model.safetensors modeling_apriel_hybrid.py tokenizer.json tokenizer_config.json' ] ||
    complain "files: $(cd hybrid && echo *)"
cmp hybrid/tokenizer.json "$demo/tokenizer.json" || complain "the tokenizer differs"
fails 1 '"hybrid" exists already; remove it or choose another name' "$demo" --layers 0 -o hybrid
"$program" inspect hybrid >found
grep -q '^hybrid: AprielHybridSSMForCausalLM' found || complain "cannot be read: $(cat found)"
grep -qF '"seed": 7' hybrid/apriel-tool.json || complain "no seed in apriel-tool.json"

# The same options give the same bytes; another seed does not.
"$program" convert "$demo" --kind m2 --layers 0,3,5 -o again --seed 7 --quiet >found
cmp hybrid/model.safetensors again/model.safetensors || complain "two runs differ"
"$program" convert "$demo" --kind m2 --layers 0,3,5 -o other --seed 8 >found
! cmp -s hybrid/model.safetensors other/model.safetensors || complain "the seed has no effect"

# Once it is in its place, what a last sync says is no failure: the same command could not be repeated.
if [ -e "$tests/libfaults.so" ]; then
    syncs() { FAULT_OPS=fsync FAULT_TREE=$PWD LD_PRELOAD=$tests/libfaults.so "$@"; }
    FAULT_AT=0 FAULT_COUNT=$PWD/count syncs "$program" convert "$demo" --kind m2 --layers 0,3,5 -o counted --seed 7 --quiet >found
    FAULT_AT=$(cat count) FAULT_ERROR=28 syncs "$program" convert "$demo" --kind m2 --layers 0,3,5 -o unsynced --seed 7 --quiet \
        >found 2>errors || complain "the last sync fails: exit code $?, $(cat errors)"
    cmp hybrid/model.safetensors unsynced/model.safetensors || complain "the last sync fails: another model"
    rm -rf counted unsynced
fi

# Shards: the same model in other files has the same fingerprint.
"$program" convert "$demo" --kind m2 --layers 0,3,5 -o shards --seed 7 --max-shard-size 2M >found
[ "$(cd shards && echo model[-.]*)" = 'model-00001-of-00003.safetensors model-00002-of-00003.safetensors model-00003-of-00003.safetensors model.safetensors.index.json' ] ||
    complain "shards: $(cd shards && echo model[-.]*)"
one=$("$program" inspect hybrid | grep '^fingerprint')
two=$("$program" inspect shards | grep '^fingerprint')
[ "$one" = "$two" ] || complain "sharding changes the fingerprint"
[ "$one" != "$("$program" inspect other | grep '^fingerprint')" ] || complain "the seed does not enter the fingerprint"

# What transformers loads it with is in the program and stands beside the weights, with the classes that
# config.json names, in both formats; and it changes nothing for this program.
head -4 "$source/recipes/gsm8k-excerpt.jsonl" >texts.jsonl
"$program" data --tokenizer "$demo" --seq-len 64 -o rows.h5 texts.jsonl --quiet >found
ce_of() { "$program" eval "$1" --data rows.h5 --json --quiet | grep -A1 '"ce": {' | sed -n 's/.*"value": \([^,]*\).*/\1/p'; }
here=$PWD
cp "$program" moved
for format in apriel-h1 apriel2; do
    (cd / && "$here/moved" convert "$source/recipes/demo-model" --layers 0,3,5 --seed 7 --format "$format" -o "$here/$format" --quiet) >found
    cmp "$format/modeling_apriel_hybrid.py" "$source/src/convert/modeling/modeling_apriel_hybrid.py" ||
        complain "$format: the modelling file"
    for auto in AutoConfig AutoModel AutoModelForCausalLM; do
        class=$(sed -n "s/^ *\"$auto\": \"modeling_apriel_hybrid\.\([A-Za-z0-9]*\)\",*$/\1/p" "$format/config.json")
        grep -q "^class ${class:-none}(" "$format/modeling_apriel_hybrid.py" || complain "$format: $auto: $(cat "$format/config.json")"
    done
    grep -q "^class $(sed -n '/"architectures"/{n;s/.*"\(.*\)".*/\1/p;}' "$format/config.json")(" \
        "$format/modeling_apriel_hybrid.py" || complain "$format: no class for the architecture"
    ce_of "$format" >ce
    rm "$format/modeling_apriel_hybrid.py"
    sed -i '/"auto_map": {/,/}/d' "$format/config.json"
    ce_of "$format" >bare
    [ -s ce ] && cmp ce bare || complain "$format: the modelling file changes the cross-entropy: $(cat ce bare)"
    cp ce "ce-$format"
done
cmp ce-apriel-h1 ce-apriel2 || complain "the formats differ in their cross-entropy: $(cat ce-apriel-h1 ce-apriel2)"

# From an earlier hybrid: its mixers are kept, its sizes and format taken over.
"$program" convert "$demo" --layers 3 -o first --d-state 32 --format apriel2 >found
"$program" convert "$demo" --from first --layers 3,8 -o second --dry-run >found
grep -q '^model.decoder.blocks.3.mixer.A_log .* <- model.decoder.blocks.3.mixer.A_log$' found ||
    complain "--from: layer 3 is not kept"
grep -qE '^model.decoder.blocks.8.mixer.A_log +F32 +\[128, 32\] +<- log\(1..32\)$' found ||
    complain "--from: layer 8 is not new with the sizes of layer 3"
grep -qxF 'would write second: Apriel2ForCausalLM, 2 of 12 layers Mamba (3,8), new: 8; 5.36 MB' found ||
    complain "--from: $(tail -n 2 found)"
[ ! -e second ] || complain "--dry-run writes"
"$program" convert "$demo" --from first --layers 3,8 -o second >found
"$program" convert "$demo" --layers 3,8 -o direct --d-state 32 --format apriel2 >found
cmp second/model.safetensors direct/model.safetensors || complain "--from differs from one step"
fails 1 '"first": layer 3 is Mamba already, but is not among the layers to be Mamba' \
    "$demo" --from first --layers 8 -o x
fails 1 "\"$models/apriel2\" is not a hybrid of \"$demo\": their shapes differ" \
    "$demo" --from "$models/apriel2" --layers 1,2 -o x

# The stage of a plan made from this model's scores. Another model's plan is refused.
head -n 1 "$source/tests/data/golden/ids.jsonl" | "$(dirname "$program")/tests/make_tokens" t.h5 2048
"$program" loo "$demo" --data t.h5 --db s.db --layers 3-6 --quiet >found
"$program" plan --db s.db --run 1 --stages 1,3 -o plan.json >found
"$program" convert "$demo" --kind m2 --plan plan.json --stage 1 -o stage1 >found
grep -q 'AprielHybridSSMForCausalLM, 1 of 12 layers Mamba' found || complain "stage 1: $(cat found)"
"$program" convert "$demo" --plan plan.json --from stage1 -o stage2 >found
grep -q '3 of 12 layers Mamba' found || complain "stage 2: $(cat found)"
grep -q '"stage": 2' stage2/apriel-tool.json || complain "the last stage is not the default"
fails 2 '"plan.json" has 2 stages, there is no stage 3' "$demo" --plan plan.json --stage 3 -o x
fails 2 'convert: --stage needs --plan' "$demo" --layers 0 --stage 1 -o x
set +e
"$program" convert "$models/llama-f16" --plan plan.json -o x >out 2>errors
[ $? -eq 1 ] || complain "another model's plan passes"
set -e
grep -q '^apriel-tool: "plan.json" was made for another model than' errors || complain "another plan: $(cat errors)"

# What a format cannot express, and sizes that do not divide.
fails 1 "\"$models/qwen2-tied\" has attention biases, which apriel-h1 cannot express; use --format apriel2" \
    "$models/qwen2-tied" --layers 0 -o x --format apriel-h1
fails 1 "\"$models/qwen3\" has query and key norms, which apriel-h1 cannot express; use --format apriel2" \
    "$models/qwen3" --layers 0 -o x --format apriel-h1
"$program" convert "$models/qwen2-tied" --kind m2 --layers 0 -o qwen >found
grep -q 'Apriel2ForCausalLM' found || complain "a Qwen model by default: $(cat found)"
# Warnings where the code that is published for the format would compute something else.
"$program" convert "$models/qwen3" --layers 0 -o warned --kind m2 --d-state 8 >found 2>errors
grep -qxF "warning: the published Apriel2 code does not apply query and key norms, and Fast-LLM's import of Apriel2 leaves them out: both compute another function from this checkpoint" errors ||
    complain "query and key norms: $(cat errors)"
grep -qxF 'note: query and key norms of replaced layers are dropped; a Mamba mixer has none' found || complain "norms: $(cat found)"
"$program" convert "$models/llama-rope-linear-biases" --layers 0 -o warned2 --kind m2 --d-state 8 >found 2>errors
grep -qxF "warning: the published Apriel2 code has no biases in its MLP: it leaves this checkpoint's out and computes another function (Fast-LLM reads them)" errors ||
    complain "MLP biases: $(cat errors)"
grep -qxF "warning: neither the Apriel2 code published with Fast-LLM nor Fast-LLM itself knows this checkpoint's rope scaling: they refuse it, or compute another function" errors ||
    complain "linear rope scaling: $(cat errors)"
# The range of step sizes is in the configuration, in both formats; a hybrid's next mixers join it.
range() {
    [ "$(sed -n 's/^ *"dt_m\(..\)": \([0-9.]*\),*$/\1 \2/p' "$1/config.json" | tr '\n' ' ')" = "$2 " ] ||
        complain "$1: $(grep dt_m "$1/config.json")"
}
"$program" convert "$demo" --layers 0 -o ranged --dt-range 0.01,0.3 >found
range ranged 'in 0.01 ax 0.3'
"$program" convert "$demo" --layers 0 -o ranged2 --dt-range 0.01,0.3 --format apriel2 >found
range ranged2 'in 0.01 ax 0.3'
"$program" convert "$demo" --layers 0,1 --from ranged -o ranged3 >found
range ranged3 'in 0.001 ax 0.3'
"$program" convert "$demo" --layers 0,1 --from ranged -o ranged4 --dt-range 0.02,0.2 >found
range ranged4 'in 0.01 ax 0.3'
range hybrid 'in 0.001 ax 0.1'
grep -q attention_dropout ranged2/config.json && complain "apriel2 has attention_dropout, which Fast-LLM refuses"
# Choices for new mixers when none is made.
for option in '--init published' '--dt-range 0.01,0.3' '--d-state 16' '--gate open' '--qkv-bias drop'; do
    name=${option%% *}
    # shellcheck disable=SC2086 # two words
    fails 2 "convert: no layer gets a new mixer: there is nothing for $name to say" \
        "$demo" --layers 0 --from ranged -o x $option
done
"$program" convert "$models/qwen2-tied" --layers 0 -o nobias --format apriel2 --qkv-bias drop >found
grep -qxF 'note: attention biases of replaced layers are dropped' found || complain "--qkv-bias drop: $(cat found)"
fails 2 '--d-state 24 must divide the head size 32' "$demo" --layers 0 -o x --kind m2 --d-state 24
fails 2 'convert: --align must be paper or gqa, not "best"' "$demo" --layers 0 -o x --align best
fails 2 'convert: --format must be granite-hybrid, qwen3.5, native, apriel-h1 or apriel2, not "gguf"' "$demo" --layers 0 -o x --format gguf
fails 2 'convert: give either --plan or --layers' "$demo" -o x
fails 2 'convert: -o DIR is missing' "$demo" --layers 0
for slash in / ///; do
    "$program" convert "$demo" --kind m2 --layers 0 -o "slash$slash" >out 2>errors || complain "-o slash$slash: $(cat errors)"
    [ -e slash/config.json ] && [ -z "$(find . -name '.slash*')" ] || complain "-o slash$slash writes elsewhere"
    fails 1 '"slash" exists already; remove it or choose another name' "$demo" --layers 0 -o "slash$slash"
    rm -r slash
done
fails 2 '"/" is not a name for a new directory' "$demo" --layers 0 -o //
fails 2 '"." is not a name for a new directory' "$demo" --layers 0 -o .

# A directory that cannot be written in (for root too).
fails 1 'cannot make "/proc/hybrid": No such file or directory' "$demo" --layers 0 -o /proc/hybrid
fails 1 'cannot make "nowhere/hybrid": No such file or directory' "$demo" --layers 0 -o nowhere/hybrid

# NaN weights are named. In the demo model's file the last four bytes belong to the last tensor.
cp -r "$demo" nan
chmod -R u+w nan
size=$(wc -c <nan/model.safetensors)
printf '\300\177' | dd of=nan/model.safetensors bs=1 seek=$((size - 4)) conv=notrunc status=none
set +e
"$program" convert nan --layers 0 -o x >out 2>errors
code=$?
set -e
[ $code -eq 1 ] || complain "NaN weights: exit code $code"
grep -Eqx 'apriel-tool: "nan/model.safetensors": tensor "model[a-z0-9_.]+" is not finite \(NaN or infinity\) at element [0-9]+' errors ||
    complain "NaN weights: $(cat errors)"
[ ! -e x ] || complain "NaN weights: something was written"

# A full disk: a small file system where one can be mounted, a limit on file sizes everywhere.
mkdir small
if mount -t tmpfs -o size=3m tmpfs small 2>/dev/null; then
    mounted=$temporary/small
    set +e
    "$program" convert "$demo" --kind m2 --layers 0 -o small/hybrid >out 2>errors
    code=$?
    set -e
    [ $code -eq 1 ] || complain "full disk: exit code $code"
    grep -Eqx 'apriel-tool: cannot write "small/\.hybrid\.unfinished-[0-9]+/model\.safetensors": No space left on device' errors ||
        complain "full disk: $(cat errors)"
    [ -z "$(ls -A small)" ] || complain "full disk: $(ls -A small) is left"
    umount small
    mounted=
fi
set +e
(
    trap '' XFSZ
    ulimit -f 2000
    exec "$program" convert "$demo" --kind m2 --layers 0 -o limited >out 2>errors
)
code=$?
set -e
[ $code -eq 1 ] || complain "file size limit: exit code $code"
grep -q '^apriel-tool: cannot write ".*": File too large$' errors || complain "file size limit: $(cat errors)"
[ ! -e limited ] || complain "file size limit: something was written"

# kill -9 while writing: no checkpoint under any name; the rerun cleans up and gives the same bytes.
mkdir big
sed 's/"hidden_size": 128/"hidden_size": 1024/; s/"intermediate_size": 384/"intermediate_size": 8192/' \
    "$demo/config.json" >big/config.json
"$program" convert big --random-weights 1 --layers 1,2 -o killed >out 2>errors &
process=$!
waited=0
until [ -n "$(find . -path './.killed.unfinished-*/model.safetensors' -size +2000k)" ] || [ $waited -ge 200 ]; do
    sleep 0.05
    waited=$((waited + 1))
done
kill -9 $process
set +e
wait $process 2>/dev/null
set -e
[ ! -e killed ] || complain "kill -9 came too late to test anything"
left=$(echo .killed.unfinished-*)
[ -d "$left" ] || complain "kill -9: no temporary directory was there"
set +e
"$program" inspect "$left" >out 2>errors
[ $? -eq 1 ] || complain "kill -9: $left is taken for a checkpoint"
set -e
"$program" convert big --random-weights 1 --layers 1,2 -o killed >out 2>errors
[ ! -e "$left" ] || complain "the rerun leaves $left behind"
grep -qF "removed \"./$left\", left by a run that was killed" errors || complain "rerun: $(cat errors)"
"$program" convert big --random-weights 1 --layers 1,2 -o whole >out
cmp killed/model.safetensors whole/model.safetensors || complain "the rerun gives other bytes"

# SIGTERM: the exit code of an interruption, and nothing left.
"$program" convert big --random-weights 1 --layers 1 -o stopped >out 2>errors &
process=$!
waited=0
until [ -n "$(find . -path './.stopped.unfinished-*/model.safetensors' -size +2000k)" ] || [ $waited -ge 200 ]; do
    sleep 0.05
    waited=$((waited + 1))
done
kill $process
set +e
wait $process
code=$?
set -e
[ $code -eq 130 ] || complain "SIGTERM: exit code $code"
[ "$(tail -n 1 errors)" = 'apriel-tool: interrupted' ] || complain "SIGTERM: $(cat errors)"
[ "$(echo .stopped* stopped*)" = '.stopped* stopped*' ] || complain "SIGTERM leaves files behind"

exit $bad
