#!/bin/sh
# Alignment: what it writes, in one pass or in pieces, layer by layer or all at once; what stands in
# its way.
. "$(dirname "$0")/common.sh"

model=$models/qwen2-tied
echo '[1,5,9,13,2,7,3,11,4,6,8,10]
[3,1,4,1,5,9,2,6,5,3,5,8]
[2,7,1,8,2,8,1,8,2,8,4,5]
[7,7,1,8,2,3,1,8,2,8,4,6]
[1,4,1,4,2,1,3,5,6,2,3,7]' >rows
"$tests/make_tokens" rows.h5 300 <rows
tail -n 2 rows | "$tests/make_tokens" held.h5 300 # what --heldout 2 holds out
layers=$("$program" inspect "$model" --json | sed -n 's/.*"num_hidden_layers": \([0-9]*\).*/\1/p' | head -n 1)
last=$((${layers:-2} - 1))
A="$model --data rows.h5 --steps 3 --batch 2 --heldout 2 --device cpu --quiet"
kinds='m2,mamba2,gdn,window:4'

# align LIBRARY OPTIONS...
align() {
    library=$1
    shift
    # shellcheck disable=SC2086 # words
    "$program" align $A --library "$library" --db "$library.db" "$@"
}
# scores DATABASE: without the runs' numbers
scores() {
    for run in 1 2 3 4; do "$program" scores --db "$1" --run $run --export csv; done | cut -d, -f2-
}

align whole --kind $kinds >told || complain "align: exit code $?"
for name in m2 mamba2 gdn window-4; do
    for layer in 000 00$last; do
        [ -s "whole/layer-$layer.$name.safetensors" ] || complain "no $name of layer $layer: $(ls whole)"
    done
done
[ ! -e whole/start ] || complain "the mixers as they began stay"
"$program" scores --db whole.db >listed
[ "$(grep -c ' align ' listed)" = 4 ] || complain "runs: $(cat listed)"
# Three steps of training help on the tokens that they see; a window stays what it is.
awk '/^run/ { window = /window/ } $1 ~ /^[0-9]+$/ && NF >= 9 && (window ? $2 != $3 || $6 != $7 : $2 == $3) { bad = 1 }
    END { exit bad }' told || complain "before and after: $(cat told)"

# Again: nothing is computed. In pieces, and a layer at a time: the same bits.
align whole --kind $kinds >again
[ "$(grep -c 'all layers were there' again)" = 4 ] || complain "again: $(cat again)"
found=130
while [ $found -eq 130 ]; do
    found=0
    align pieces --kind $kinds --limit-steps 2 >out 2>errors || found=$?
done
[ $found -eq 0 ] || complain "in pieces: $(cat errors)"
for layer in $(seq 0 "$last"); do align single --kind $kinds --layers "$layer" >out || complain "layer $layer: exit code $?"; done
align cached --kind $kinds --cache-dir . >out || complain "--cache-dir: exit code $?"
[ "$(echo ./*.h5)" = './held.h5 ./rows.h5' ] || complain "--cache-dir leaves $(echo ./*.h5)"
for file in whole/*.safetensors; do
    for library in pieces single cached; do
        cmp "$file" "$library/${file#*/}" || complain "$library: ${file#*/} has other bits"
    done
done
scores whole.db >expected
for library in pieces cached; do
    scores $library.db | cmp - expected || complain "$library: other scores"
done
for name in steps sequences; do
    "$program" scores --db whole.db --run 1 --export $name >expected
    "$program" scores --db pieces.db --run 1 --export $name | cmp - expected || complain "$name in pieces: others"
done

# A start that is fitted to data; windows have nothing to fit.
align fitted --kind gdn,window:4 --calibrate rows.h5 --layers 1 >out || complain "--calibrate: exit code $?"
cmp -s fitted/layer-001.gdn.safetensors whole/layer-001.gdn.safetensors && complain "--calibrate changes nothing"
cmp fitted/layer-001.window-4.safetensors whole/layer-001.window-4.safetensors || complain "--calibrate changes a window"
grep -q '"calibrate": "' fitted/library.json || complain "--calibrate: $(cat fitted/library.json)"

# The scores before are those of an untrained probe.
"$program" mmr "$model" --data rows.h5 --db whole.db --steps 1 --batch 2 --heldout 2 --device cpu --quiet --kind mamba2 >out
value() { "$program" scores --db whole.db --run "$1" --export csv | grep ",$2," | cut -d, -f2- | sed "s/$2//"; }
[ -n "$(value 5 heldout_kl_before)" ] || complain "mmr: $(cat out)"
{ value 2 kl_before && value 5 heldout_kl_before; } | awk -F, '
    $1 in first && ($3 - first[$1]) ^ 2 > (1e-5 * $3) ^ 2 { bad = 1 } { first[$1] = $3; n++ } END { exit bad || n < 4 }' ||
    complain "before: $(value 2 kl_before), mmr has $(value 5 heldout_kl_before)"

# A plan by its scores says by what.
"$program" plan --db whole.db --run 2 --stages 1 -o plan.json --quiet >out || complain "plan: exit code $?"
grep -q '"mixer": "mamba2"' plan.json || complain "plan: $(cat plan.json)"
"$program" plan --db whole.db --signal align --stages 1 -o signal.json --quiet >out || complain "plan --signal align: exit code $?"

# A mixer that diverges is given up, named and not kept; the others are.
align wild --kind gdn --lr 1e38 --warmup 0 --steps 3 >told 2>errors || complain "a wild rate: exit code $?"
grep -q 'diverged at step' told || complain "a wild rate: $(cat told)"
grep -q '^warning: layer 0, gdn: the loss is not finite at step [12]; this mixer is given up$' errors ||
    complain "a wild rate: $(cat errors)"
[ ! -e wild/layer-000.gdn.safetensors ] || complain "a mixer that diverged is kept"
# What ends worse is named.
align worse --kind gdn --lr 3 --warmup 0 --steps 3 >told 2>errors || complain "a high rate: exit code $?"
grep -q '^layer [0-9]* ends worse than it began: kl (' told || complain "a high rate: $(cat told)"

# What stands in the way.
always="align $A --db x.db"
fails 2 'align: --data, --library and --db are needed' --kind m2
fails 2 'align: --block-share must be above 0 and at most 1, not 0' --library x --block-share 0
fails 2 'align: --block-share must be above 0 and at most 1, not 1.5' --library x --block-share 1.5
fails 2 'align: --block-share must be above 0 and at most 1, not -1' --library x --block-share -1
fails 2 'align: --lr must be positive, --beta1 and --beta2 at least 0 and below 1' --library x --lr 0
fails 2 '--kind: "attention" is what other mixers replace' --library x --kind m2,attention
fails 2 '--kind: "m2" is there twice' --library x --kind m2,gdn,m2
fails 2 '--kind: no kind is named' --library x --kind ''
fails 2 '--kind: "window:0": window takes a whole number from 1 to 2147483647' --library x --kind m2,window:0
fails 2 '--dt-rank says nothing about "gdn,window:4"' --library x --kind gdn,window:4 --dt-rank 8
fails 2 '--heldout 5: "rows.h5" has 5 rows, which leaves none to train on' --library x --heldout 5
always=
"$program" align "$models/foreign-llama" --data rows.h5 --library whole --db x.db --steps 1 --batch 2 --heldout 2 \
    --kind gdn --device cpu >out 2>errors && complain "a library of another model is taken"
grep -q '^apriel-tool: "whole" is a library of another model (".*") than ".*": their fingerprints differ$' errors ||
    complain "a library of another model: $(cat errors)"
echo '{"format": "apriel-tool/library", "version": 2}' >pieces/library.json
# shellcheck disable=SC2086 # words
"$program" align $A --library pieces --db pieces.db >out 2>errors && complain "a library of the future is taken"
grep -q 'has version 2; this release reads up to 1$' errors || complain "a library of the future: $(cat errors)"
# shellcheck disable=SC2086 # words
"$program" align $A --kind m2,gdn --dry-run >out || complain "--dry-run: exit code $?"
grep -q '^in all ' out || complain "--dry-run: $(cat out)"

# ---- what takes a library

# of DATABASE RUN METRIC: a layer and its value a line
of() { "$program" scores --db "$1" --run "$2" --export csv | grep ",$3," | cut -d, -f2,4; }
# near FILE FILE: the same layers, values within 1e-5
near() {
    [ -s "$1" ] && [ "$(wc -l <"$1")" = "$(wc -l <"$2")" ] &&
        paste -d, "$1" "$2" | awk -F, '$1 != $3 || ($2 - $4) ^ 2 > (1e-5 * $2) ^ 2 + 1e-18 { exit 1 }'
}
H="--data held.h5 --device cpu --quiet"

# loo has the scores of the alignment, of all layers that the library has or of those that are named.
# shellcheck disable=SC2086 # words
"$program" loo "$model" $H --db loo.db --library whole --kind mamba2 >out || complain "loo --library: exit code $?"
of whole.db 2 kl >expected
of loo.db 1 kl >found
near expected found || complain "loo --library: $(cat found), align: $(cat expected)"
# shellcheck disable=SC2086 # words
"$program" loo "$model" $H --db loo.db --library fitted --kind gdn >out || complain "loo of one layer: exit code $?"
[ "$(of loo.db 2 kl | cut -d, -f1)" = 1 ] || complain "loo of one layer: $(of loo.db 2 kl)"

# A layout in memory is the hybrid that convert writes with the library.
"$program" plan --db whole.db --run 3 --stages 1,2 -o gdn.json --quiet >out
# shellcheck disable=SC2086 # words
"$program" eval "$model" $H --plan gdn.json --library whole >measured || complain "eval --plan: exit code $?"
"$program" convert "$model" --plan gdn.json --library whole -o hybrid --quiet >out || complain "convert --library: exit code $?"
grep -q '"digest": "[0-9a-f]*"' hybrid/apriel-tool.json || complain "provenance: $(cat hybrid/apriel-tool.json)"
# shellcheck disable=SC2086 # words
"$program" eval hybrid $H --teacher "$model" >converted
kl() { awk '$1 == "kl" { print 0 "," $2 }' "$1"; }
kl measured >expected
kl converted >found
paste -d, expected found | awk -F, '{ exit !($2 > 0 && ($2 - $4) ^ 2 < (2e-2 * $2) ^ 2) }' ||
    complain "in memory: $(cat measured); converted: $(cat converted)" # the weights are BF16 there
# shellcheck disable=SC2086 # words
"$program" eval "$model" $H --plan gdn.json --library whole --stage all >stages || complain "eval --stage all: exit code $?"
[ "$(awk '$1 == 1 && $2 == 1 { n++ } $1 == 2 && $2 == 2 { n++; two = $3 } END { print n, two }' stages)" = "2 $(cut -d, -f2 expected)" ] ||
    complain "eval --stage all: $(cat stages)"
# shellcheck disable=SC2086 # words
"$program" eval "$model" $H --plan gdn.json --library whole --stage all --json >stages.json
grep -q '"stages": \[' stages.json || complain "eval --stage all --json: $(cat stages.json)"
# Windows are the attention's own weights, in a checkpoint too.
"$program" convert "$model" --layers 1 --kind window:4 --library whole -o windows --format apriel2 --quiet >out ||
    complain "convert of windows: exit code $?"
"$program" convert "$model" --layers 1 --kind window:4 -o plain --format apriel2 --quiet >out
cmp windows/model.safetensors plain/model.safetensors || complain "windows of a library: other weights"

# mmr begins where the alignment ended, and keeps what it trains.
P="$model --data rows.h5 --device cpu --quiet --kind gdn --batch 2 --heldout 2 --steps 1 --layers 1"
# shellcheck disable=SC2086 # words
"$program" mmr $P --db probes.db --library whole --keep kept >out || complain "mmr --library --keep: exit code $?"
of whole.db 3 kl | grep '^1,' >expected
of probes.db 1 heldout_kl_before >found
near expected found || complain "mmr --library: $(cat found), align: $(cat expected)"
# shellcheck disable=SC2086 # words
"$program" loo "$model" $H --db loo.db --library kept >out || complain "loo of what mmr keeps: exit code $?"
of probes.db 1 heldout_kl_after >expected
of loo.db 3 kl >found
near expected found || complain "mmr --keep: $(cat expected), loo: $(cat found)"
# A run that was complete without --keep has nothing left to keep, and says so.
# shellcheck disable=SC2086 # words
"$program" mmr $P --db probes.db --library whole --keep late >out 2>told ||
    complain "mmr --keep of a complete run: exit code $?"
grep -q '"late" lacks the mixers of 1 of 1 layers' told || complain "mmr --keep of a complete run: $(cat told)"

# Inside a hybrid the scores stay against the model: its cross-entropy is the unmodified one's.
ce() { "$program" scores --db "$1" --run 1 | sed -n 's/^unmodified model: ce \([0-9.]*\).*/\1/p'; }
# shellcheck disable=SC2086 # words
"$program" align $A --kind gdn --base hybrid --library inside --db inside.db >told || complain "align --base: exit code $?"
[ "$(ce inside.db)" = "$(ce whole.db)" ] || complain "align --base: $(ce inside.db), the model: $(ce whole.db)"
grep -q '"base": "hybrid"' inside/library.json || complain "align --base: $(cat inside/library.json)"

# Two that write one library: the second is refused.
# shellcheck disable=SC2086 # words
flock whole "$program" align $A --kind gdn --library whole --db x.db >out 2>errors && complain "a library in use is taken"
[ "$(cat errors)" = 'apriel-tool: "whole" is being written by another run: wait for it, or use another library' ] ||
    complain "a library in use: $(cat errors)"

# ---- a library that is not what it says, or not what is needed
always="loo $model --data held.h5 --device cpu --db l.db"
fails 1 '"whole" has several mixers of layer 0 (m2, window:4): say which with --kind' --library whole
fails 1 '"fitted" has no gdn mixer of layer 0' --library fitted --kind gdn --layers 0
fails 1 '"fitted" has no mixer of an attention layer' --library fitted --kind m2
fails 2 'loo: --kind says which mixers of --library to take' --kind m2
fails 2 'loo: --library goes without --ablate block' --library fitted --ablate block
fails 1 'cannot open "nowhere/library.json": No such file or directory' --library nowhere
always="convert $model --layers 1 -o x"
fails 2 'convert: --d-state says nothing about mixers that --library has' --library whole --d-state 8
always="eval $model --data held.h5 --device cpu --plan gdn.json"
fails 2 'eval: a layout is --plan PLAN.json and --library DIR, and --stage and --kind if need be' --stage 1
fails 2 'eval: --stage must be all or a number from 1 to 1000, not "0"' --library whole --stage 0
fails 2 '"gdn.json" has 2 stages, there is no stage 3' --library whole --stage 3
always=
name="layer-001.gdn.safetensors"
# spoil WORDS: what loo says of the library when something was done to it
spoil() {
    "$program" loo "$model" --data held.h5 --device cpu --db l.db --quiet --library spoilt --kind gdn >out 2>errors &&
        complain "$1: is taken"
    grep -q "^apriel-tool: .*\"spoilt.*$2" errors || complain "$1: $(cat errors)"
    rm -rf spoilt
    cp -r whole spoilt
}
rm -rf spoilt
cp -r whole spoilt
printf '\377' | dd of=spoilt/$name bs=1 seek=$(($(wc -c <whole/$name) - 3)) conv=notrunc 2>/dev/null
spoil "a changed byte" "$name\" is not what \"spoilt/library.json\" says it is: it was changed or damaged$"
head -c 3000 whole/$name >spoilt/$name
spoil "a file that ends early" "$name\""
cp whole/layer-000.gdn.safetensors spoilt/$name
spoil "another layer's file" "$name\": \"layer\" in its header is \"0\", and the library has it as 1$"
cp whole/layer-001.mamba2.safetensors spoilt/$name
spoil "another kind's file" "$name\": \"kind\" in its header is \"mamba2\", and the library has it as gdn$"
rm spoilt/$name
spoil "a missing file" "$name\": No such file"
sed 's/"layer": 1,/"layer": 7,/' whole/library.json >spoilt/library.json
spoil "a layer too many" "library.json\": \"layer\" is 7"
sed 's/"kind": "gdn"/"kind": "dgn"/' whole/library.json >spoilt/library.json
spoil "no kind" "library.json\": layer 0: there is no kind \"dgn\" of mixers$"
sed 's/layer-000.gdn.safetensors/..\/..\/etc\/passwd/' whole/library.json >spoilt/library.json
spoil "a path" "library.json\": \"file\" is \"../../etc/passwd\", and that of layer 0 and its kind is \"layer-000.gdn.safetensors\"$"
sed 's/"format": "apriel-tool\/library"/"format": "something"/' whole/library.json >spoilt/library.json
spoil "no library" "library.json\" is no library of apriel-tool"
head -c 200 whole/library.json >spoilt/library.json
spoil "half a document" "library.json\": invalid JSON"

exit $bad
