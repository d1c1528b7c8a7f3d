#!/bin/sh
# apriel-tool loo: golden values of the demo model through the command line, what it prints, bases,
# and one line for everything that cannot be done.
. "$(dirname "$0")/common.sh"
always="loo --device cpu"

# value RUN LAYER METRIC: with all its digits
value() {
    "$program" scores --db scores.db --export csv --run "$1" |
        awk -F, -v layer="$2" -v metric="$3" '$2 == layer && $3 == metric { print $4 }'
}

"$tests/make_tokens" rows.h5 2048 <"$golden/ids.jsonl"
for ablation in mixer block; do
    "$program" loo "$demo" --data rows.h5 --db scores.db --device cpu --ablate $ablation --json \
        >$ablation.json 2>errors
    [ ! -s errors ] || complain "--json writes to stderr: $(cat errors)"
    "$tests/check_scores" "$golden/demo-llama-2.6m.json" loo_$ablation <$ablation.json ||
        complain "$ablation: not the golden values"
    "$tests/check_scores" "$golden/demo-llama-2.6m.json" baseline <$ablation.json ||
        complain "$ablation: not the golden baseline"
done

# The same command again: nothing to do, the same numbers, now as a table.
"$program" loo "$demo" --data rows.h5 --db scores.db --device cpu >again 2>errors
[ "$(sed -n 1p again)" = "run 1 was complete: nothing computed" ] || complain "a second time: $(sed -n 1p again)"
cat >again.expected <<'X'
unmodified model: ce 2.6962
layer        ce          kl       +-         rkl    top1
    0    3.1201    0.511009    0.056    0.572451   68.7%
X
sed -n 2,4p again | diff -u again.expected - >&2 || complain "another table"
[ "$(wc -l <again)" -eq 15 ] || complain "a table of $(wc -l <again) lines"
"$program" loo "$demo" --data rows.h5 --db scores.db --device cpu --json |
    grep -q '"rows_found": 16' || complain "--json of a finished run: not all rows found"
# --layers with all of them is the same run; what they are called does not matter.
"$program" loo "$demo" --data rows.h5 --db scores.db --device cpu --layers 6-last,first-5 --quiet |
    head -n 1 | grep -q "run 1 was complete" || complain "--layers 0-11 is another run"

# A base: the trunk without a layer's mixer is what that layer's branch was.
head -n 2 "$golden/ids.jsonl" | "$tests/make_tokens" two.h5 2048
"$program" loo "$demo" --data two.h5 --db scores.db --device cpu --quiet >out
"$program" plan --db scores.db --run 3 --stages 1,3 -o plan.json --quiet >out
first=$("$program" scores --db scores.db --run 3 | awk '$1 == 1 && NF >= 5 { print $2; exit }')
"$program" loo "$demo" --data two.h5 --db scores.db --device cpu --base plan.json:1 >base 2>errors
grep -q '^run 4: 11 layers ablated (mixer) on 2 rows, 256 tokens, in ' base || complain "--base: $(head -n 1 base)"
grep -q '^plan.json:1: ce ' base || complain "--base: $(sed -n 2p base)"
branch=$(value 3 "$first" ce) trunk=$(value 4 -1 ce)
awk -v a="$branch" -v b="$trunk" 'BEGIN { exit !(a > 0 && (a - b) ^ 2 < (1e-6 * a) ^ 2) }' ||
    complain "layer $first removed: ce $branch as a branch, $trunk as the trunk"
[ -z "$(value 4 "$first" kl)" ] || complain "layer $first is scored although the base lacks it"
"$program" loo "$demo" --data two.h5 --db scores.db --device cpu --base plan.json --json |
    grep -q '"layers": 9' || complain "--base PLAN: not its last stage"
fails 2 "--layers: layer $first has no attention left to remove" \
    "$demo" --data two.h5 --db scores.db --base plan.json:1 --layers "$first"
fails 2 '"plan.json" has 2 stages, there is no stage 3' \
    "$demo" --data two.h5 --db scores.db --base plan.json:3
fails 1 'cannot open "absent.json": No such file or directory' \
    "$demo" --data two.h5 --db scores.db --base absent.json
echo '{}' >empty.json
fails 1 '"empty.json" is not a plan ("format" is not "apriel-tool/plan")' \
    "$demo" --data two.h5 --db scores.db --base empty.json
# A plan of another model, even of one that is longer.
echo '5 6 7 8' | "$tests/make_tokens" tiny.h5 300
message=$("$program" loo "$models/qwen3" --data tiny.h5 --db other.db --device cpu --base plan.json 2>&1 || true)
case $message in
*'apriel-tool: "plan.json" was made for another model than "'*'/qwen3" (fingerprints '*' and '*')') ;;
*) complain "a plan of another model: $message" ;;
esac
fails 1 "\"$models/apriel-h1\" is not a hybrid of \"$demo\": their shapes differ" \
    "$demo" --data two.h5 --db other.db --base "$models/apriel-h1"

# A single row has no standard error, a row of one token no next token.
echo 5 | "$tests/make_tokens" one.h5 300
"$program" loo "$models/qwen3" --data one.h5 --db one.db --device cpu --quiet >one
awk 'NR > 2 && NR < 6 && !($2 == "-" && $3 > 0 && $4 == "-" && $5 > 0) { exit 1 }' one ||
    complain "a row of one token: $(cat one)"
[ "$(wc -l <one)" -eq 5 ] || complain "a row of one token: $(cat one)"
"$program" loo "$models/qwen3" --data one.h5 --db one.db --device cpu --json >one.json
grep -q '"stderr": null' one.json || complain "a single row has a standard error"

# Estimates: runs of their own kind, found again, resumed, ranked, compared and planned by.
for estimate in first-order fisher cosine; do
    "$program" loo "$demo" --data rows.h5 --db scores.db --device cpu --estimate $estimate --quiet >$estimate
    grep -q '^run [0-9]*: 12 layers estimated (mixer) on 16 rows, 2048 tokens, in ' $estimate ||
        complain "--estimate $estimate: $(head -n 1 $estimate)"
    [ "$(sed -n 2p $estimate)" = 'an estimate of what apriel-tool loo without --estimate measures' ] ||
        complain "--estimate $estimate is not called an estimate"
    [ "$(wc -l <$estimate)" -eq 15 ] || complain "--estimate $estimate: a table of $(wc -l <$estimate) lines"
done
[ "$(sed -n 3p first-order)" = 'layer    est_ce_abs       +-   est_ce_change' ] || complain "another heading"
run=$(sed -n 's/^run \([0-9]*\):.*/\1/p' fisher)
"$program" loo "$demo" --data rows.h5 --db scores.db --device cpu --estimate fisher --quiet | head -n 1 |
    grep -q "^run $run was complete" || complain "the same estimate is another run"
"$program" scores --db scores.db --run "$run" >ranked
grep -q '^an estimate: apriel-tool loo without --estimate measures what it stands for$' ranked ||
    complain "scores does not say that it shows an estimate"
"$program" scores --db scores.db --compare "1,$run" |
    awk 'NR == 2 { good = $0 ~ /estimate-fisher est_kl/ && $NF > 0.6 } END { exit !good }' ||
    complain "the fisher estimate ranks the layers unlike loo: $("$program" scores --db scores.db --compare "1,$run" | sed -n 2p)"
"$program" plan --db scores.db --signal estimate-fisher --stages 3 |
    grep -q "^estimate-fisher est_kl, run $run (an estimate)\$" || complain "plan by an estimate"
"$program" loo "$demo" --data rows.h5 --db scores.db --device cpu --estimate fisher --seed 1 --json --quiet \
    --samples 2 --layers 3,4 >seeded.json
grep -q '"estimate": "fisher"' seeded.json || complain "--json does not name the estimate"
[ "$(grep -c '"metric": "est_kl"' seeded.json)" = 2 ] || complain "--json: not two layers"
"$program" loo "$demo" --data two.h5 --db scores.db --device cpu --estimate cosine --base plan.json:1 --quiet |
    grep -q ': 11 layers estimated ' || complain "an estimate on top of a plan"
fails 2 'loo: --estimate must be first-order, fisher or cosine, not "taylor"' \
    "$demo" --data rows.h5 --db a.db --estimate taylor
fails 2 'loo: --samples and --seed belong to --estimate fisher' \
    "$demo" --data rows.h5 --db a.db --estimate cosine --samples 2
fails 2 'loo: --samples and --seed belong to --estimate fisher or --task recall' "$demo" --data rows.h5 --db a.db --seed 1

# A hybrid is scored where it still has attention.
"$program" loo "$models/apriel-h1" --data tiny.h5 --db hybrid.db --device cpu --json |
    grep -q '"layers": 2' || complain "a hybrid"

fails 2 'loo: name one model directory (see apriel-tool loo --help)' --data rows.h5 --db a.db
fails 2 "loo: unexpected argument \"$demo\" after the model \"$demo\" (see apriel-tool loo --help)" "$demo" "$demo" --data rows.h5 --db a.db
fails 2 'loo: --data (or --task) and --db are needed' "$demo" --data rows.h5
fails 2 'loo: --data (or --task) and --db are needed' "$demo" --db a.db
fails 2 'loo: --ablate must be mixer or block, not "mlp"' "$demo" --data rows.h5 --db a.db --ablate mlp
fails 2 '--layers: "12" goes outside 0 to 11' "$demo" --data rows.h5 --db a.db --layers 12
fails 2 '--layers: "3," is not a list like 0-11,13' "$demo" --data rows.h5 --db a.db --layers 3,
fails 2 '--layers: "" is not a list like 0-11,13' "$demo" --data rows.h5 --db a.db --layers ''
fails 2 '--layers: "5-3" is not a list like 0-11,13' "$demo" --data rows.h5 --db a.db --layers 5-3
fails 2 '--layers: layer 1 has no attention left to remove' \
    "$models/apriel-h1" --data tiny.h5 --db a.db --layers 1
fails 2 'loo: --group-tokens is 0, outside 1 to 2147483647' "$demo" --data rows.h5 --db a.db --group-tokens 0
fails 2 'unknown device "tpu": auto, cpu, cuda or cuda:N' "$demo" --data rows.h5 --db a.db --device tpu
fails 1 'cannot open "absent.h5": No such file or directory' "$demo" --data absent.h5 --db a.db
echo '{"ids": [5, 6, 4000]}' | "$tests/make_tokens" large.h5 5000
fails 1 "\"large.h5\" has token id 4000, but the model's vocabulary has 2048: was it made with another tokenizer?" \
    "$demo" --data large.h5 --db a.db
echo '5 !6 !7' | "$tests/make_tokens" masked.h5 2048
fails 1 '"masked.h5": the loss mask leaves no token to predict' "$demo" --data masked.h5 --db a.db
head -c 1500 rows.h5 >cut.h5
fails 1 '"cut.h5" is not an HDF5 file that can be read (make one with apriel-tool data)' \
    "$demo" --data cut.h5 --db a.db
fails 1 'cannot open "absent/a.db": No such file or directory' "$demo" --data two.h5 --db absent/a.db
# The last float of the last tensor is not a number.
cp -R "$models/llama-f32-bare" nan
size=$(wc -c <nan/model.safetensors)
printf '\000\000\300\177' | dd of=nan/model.safetensors bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
fails 1 '"nan/model.safetensors": tensor "model.norm.weight" is not finite (NaN or infinity) at element 63' \
    nan --data tiny.h5 --db a.db
[ ! -e a.db ] || complain "a run that cannot start leaves a database"

# NaN in a layer's weight is found when the sweep comes there; the run says that it failed.
cp "$models/llama-f32-bare/model.safetensors" nan/model.safetensors
header=$(od -An -tu8 -N8 nan/model.safetensors | tr -d ' ')
start=$(head -c $((8 + header)) nan/model.safetensors | tail -c +9 |
    sed 's/.*"model.layers.1.mlp.up_proj.weight":{[^}]*"data_offsets":\[\([0-9]*\),.*/\1/')
printf '\000\000\300\177' | dd of=nan/model.safetensors bs=1 seek=$((8 + header + start)) conv=notrunc 2>/dev/null
ends 1 '"nan/model.safetensors": tensor "model.layers.1.mlp.up_proj.weight" is not finite (NaN or infinity) at element 0' \
    nan --data tiny.h5 --db nan.db
[ ! -s out ] || complain "loo nan: prints to stdout although it fails"
"$program" scores --db nan.db | grep -q ' failed ' || complain "a failed run: $("$program" scores --db nan.db)"

# The memory budget: its parts are exact and add up; what does not fit is refused before any work.
"$program" loo "$demo" --data rows.h5 --device cpu --dry-run >plan 2>errors
cat >plan.expected <<'X'
part                bytes on cpu
embedding and head       1065472  1.07 MB
one layer                 787456   787 kB
trunk and branches      13631488  13.6 MB
activations             27295744  27.3 MB
logits                  35684352  35.7 MB
in all                  78464512  78.5 MB
X
head -n 7 plan | sed 's/ *$//' | diff -u plan.expected - >&2 || complain "--dry-run: another plan"
sed -n 8p plan | grep -q '^1 group of up to 2048 tokens, layers streamed; .* may be used on cpu\( (.*)\)\{0,1\}$' ||
    complain "--dry-run: $(tail -n 1 plan)"
"$program" loo "$demo" --data rows.h5 --device cpu --dry-run --json --device-memory 2G >plan.json
grep -q '"room_bytes": 2000000000' plan.json || complain "--dry-run --json: $(cat plan.json)"
fails 1 'the sweep needs 49.5 MB and --device-memory allows 20.0 MB: use shorter rows or fewer --layers' \
    "$demo" --data rows.h5 --db a.db --device-memory 20M
fails 1 'the sweep needs 49.5 MB and --device-memory allows 20.0 MB: use shorter rows or fewer --layers' \
    "$demo" --data rows.h5 --dry-run --device-memory 20M
[ ! -e a.db ] || complain "a run that does not fit leaves a database"
"$program" loo "$demo" --data rows.h5 --db small.db --device cpu --device-memory 50M --json >small.json
"$tests/check_scores" "$golden/demo-llama-2.6m.json" loo_mixer <small.json ||
    complain "--device-memory 50M: not the golden values"

# --device cuda on a machine that has none.
if ! "$program" loo "$models/qwen3" --data tiny.h5 --db cuda.db --device cuda >out 2>errors; then
    case $(cat errors) in
    'apriel-tool: device "cuda": '*) ;;
    *) complain "--device cuda: $(cat errors)" ;;
    esac
    [ "$(wc -l <errors)" -eq 1 ] || complain "--device cuda: $(cat errors)"
    [ ! -e cuda.db ] || complain "--device cuda leaves a database"
fi
exit $bad
