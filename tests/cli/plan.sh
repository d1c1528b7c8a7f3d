#!/bin/sh
# apriel-tool plan on a database made for the purpose (tests/make_scores.c).
. "$(dirname "$0")/common.sh"
always=plan

"$tests/make_scores" scores.db

"$program" plan --db scores.db --run 1 --run 2@2 --stages 1,2,4,6 --keep 6 -o plan.json >stages.found
cat >stages.expected <<'X'
plan for model-a
loo kl, run 1
mmr heldout_rkl_after, run 2, from 2 replaced layers on
kept: layers 6

stage  replaced  attention left  new layers
    1         1               7  3
    2         2               6  5
    3         4               4  2,4
    4         6               2  0-1
stage 1 ends inside a statistical tie: layers 3 (in) and 5 (out) are within 2 standard errors
stage 4 ends inside a statistical tie: layers 0 (in) and 7 (out) are within 2 standard errors
written to plan.json
X
same stages
grep '"count": 4' plan.json >layout.found
echo '    {"count": 4, "layers": [2, 3, 4, 5], "layout": "ttmmmmtt", "tie": null},' >layout.expected
same layout
# By kind instead of by number; as a document; read back: the same plan.
"$program" plan --db scores.db --signal mmr@2 --run 1 --stages 1,2,4,6 --keep 6 -o again.json --json >shown.json
cmp plan.json again.json || complain "--signal gives another plan than --run"
cmp plan.json shown.json || complain "--json shows another plan than -o writes"
"$program" plan --plan plan.json --format plan | cmp - plan.json || complain "--plan changes the plan"
[ "$(sqlite3 scores.db 'SELECT count(*) FROM plan' 2>/dev/null || echo 2)" = 2 ] ||
    complain "the plans are not recorded"

"$program" plan --plan plan.json --format hf --stage 2 >hf.found
echo '{"hybrid_block_layout": ["t", "t", "t", "m2", "t", "m2", "t", "t"]}' >hf.expected
same hf
"$program" plan --plan plan.json --format csv | sed -n '1,2p' >csv.found
cat >csv.expected <<'X'
position,layer,run,score,stderr,tie_group,stage
1,3,1,0.13304761904761908,0.006395549689081056,1,1
X
same csv
"$program" plan --plan plan.json --format surgery --stage 1 --d-state 8 -o surgery.yaml >/dev/null
cat >surgery.expected <<'X'
# 1 of 8 attention mixers replaced, ranked by loo+mmr.
# Apriel2: convert.py MODEL OUTPUT --surgery THIS_FILE.
decoder:
  type: pattern
  pattern:
    - attention  # 0
    - attention  # 1
    - attention  # 2
    - mamba  # 3
    - attention  # 4
    - attention  # 5
    - attention  # 6
    - attention  # 7
  blocks:
    attention:
      mixer:
        type: attention
        init: transfer
      mlp:
        init: transfer
      normalization:
        init: transfer
    mamba:
      mixer:
        type: mamba
        init: transfer
        d_inner: 64
        d_xb: 32
        d_state: 8
        d_conv: 4
        dt_rank: 4
        repeat_kv_before_conv: true
        conv_bias: true
        dt_proj_bias: true
        dt_min: 0.001
        dt_max: 0.1
        dt_init_floor: 0.0001
      mlp:
        init: transfer
      normalization:
        init: transfer
X
cp surgery.yaml surgery.found
same surgery
"$program" plan --plan plan.json --format fast-llm >fast.found
grep -q '^        state_size: 16$' fast.found || complain "fast-llm has no state_size"

# The biases of new mixers are those that convert gives them: an open gate is one.
fast() {
    "$program" plan --plan plan.json --format fast-llm "$@" | sed -n '/^    mamba:/,/^      mlp:/p'
}
fast | grep -q '^        add_linear_biases: true$' || complain "fast-llm drops the gate's bias"
fast --init published | grep -q '^        add_linear_biases: false$' || complain "fast-llm --init has no effect"
fast --gate random | grep -q '^        add_linear_biases: false$' || complain "fast-llm --gate has no effect"
fast --dt-range 0.01,0.3 | grep -q '^              max_step_size: 0.3$' || complain "fast-llm --dt-range has no effect"
"$program" plan --plan plan.json --format fast-llm | grep -E '^ *[a-z_]+: -?[0-9.]*[eE]' | grep -vE ': -?[0-9]+\.[0-9]+e[-+][0-9]+$' &&
    complain "numbers that YAML 1.1 takes for strings"
"$program" plan --plan plan.json --format surgery --init published --dt-range 0.01,0.3 | grep -q '^        dt_min: 0.01$' ||
    complain "surgery --dt-range has no effect"

# An option that would be ignored is refused.
for option in '--align paper' '--conv-init random' '--dt-bias once' '--skip one' '--c-scale one' '--a-init one'; do
    for format in hf fast-llm; do
        # shellcheck disable=SC2086 # two words
        fails 2 "plan: ${option%% *} does not enter --format $format; give it to convert" --plan plan.json --format $format $option
    done
    # shellcheck disable=SC2086
    fails 2 "plan: ${option%% *} changes nothing that is shown; give it to convert" --plan plan.json $option
done
for option in '--init published' '--gate open' '--qkv-bias drop' '--dt-range 0.01,0.3' '--d-state 8' '--dt-rank 4' '--d-conv 3'; do
    # shellcheck disable=SC2086
    fails 2 "plan: ${option%% *} does not enter --format csv; give it to convert" --plan plan.json --format csv $option
done
fails 2 'plan: --gate does not enter --format surgery; give it to convert' --plan plan.json --format surgery --gate open
fails 2 "plan: --init improved: Apriel2's surgery makes its mixers as published" --plan plan.json --format surgery --init improved
fails 2 'plan: --stage is for --format hf, fast-llm and surgery; csv has all' --plan plan.json --format csv --stage 1
fails 2 'plan: --stage is for --format hf, fast-llm and surgery; plan has all' --plan plan.json --stage 1
fails 2 'plan: --memory is for the estimate of serving, which is not shown here' --plan plan.json --format csv --memory 24G
fails 2 'plan: --bandwidth is for the estimate of serving, which is not shown here' --plan plan.json --json --bandwidth 1T
fails 2 'plan: --json shows the plan: name a file for --format as -o' --plan plan.json --json --format csv
fails 2 'plan: --bandwidth is 0, not above 0' --plan plan.json --bandwidth 0
for option in '--auto' '--work w' '--data d.h5' '--group 3' '--device cpu' '--loo-options x' '--mmr-options x' '--convert-options x'; do
    # shellcheck disable=SC2086
    fails 2 "plan: ${option%% *} belongs to --schedule" --plan plan.json $option
done

# The model, or a hybrid of it, instead of what the plan remembers of it.
head -n 1 "$golden/ids.jsonl" | "$tests/make_tokens" t.h5 2048
"$program" loo "$demo" --data t.h5 --db demo.db --layers 3-6 --quiet >out
"$program" plan --db demo.db --run 1 --stages 2 -o demo.json >out
grep -q ' 5\.25 MB ' out && grep -q ' 5\.39 MB ' out || complain "the estimate counts other bytes than convert writes: $(cat out)"
for line in 'the last stage can be written as' '  granite-hybrid' '  apriel2         no: it cannot express Mamba-2 mixers'; do
    grep -qxF -e "$line" out || complain "no line \"$line\": $(cat out)"
done
"$program" convert "$demo" --plan demo.json -o made --dt-range 0.01,0.3 --gate random --d-state 8 >out
"$program" plan --plan demo.json --format fast-llm --dt-range 0.01,0.3 --gate random --d-state 8 >asked.yaml
"$program" plan --plan demo.json --format fast-llm --model made >read.yaml
cmp asked.yaml read.yaml || complain "the YAML of the choices is not that of the hybrid"
"$program" plan --plan demo.json --format fast-llm --model "$demo" --dt-range 0.01,0.3 --gate random --d-state 8 | cmp - asked.yaml ||
    complain "the YAML of the model is not that of the plan"
fails 1 "\"$models/qwen3\" is not the model of the plan, nor a hybrid of it: they differ in num_hidden_layers" \
    --plan demo.json --format fast-llm --model "$models/qwen3"
# Another model of the same layers and width is no model of the plan either.
for change in 'num_attention_heads 2' 'num_key_value_heads 4' 'head_dim 64' 'rope_theta 77.0' 'rms_norm_eps 0.5' \
    'intermediate_size 388' 'vocab_size 2000' 'hidden_size 256'; do
    rm -rf changed
    mkdir changed
    sed "s/\"${change% *}\": *[0-9.e-]*/\"${change% *}\": ${change#* }/" "$demo/config.json" >changed/config.json
    for format in fast-llm surgery; do
        fails 1 "\"changed\" is not the model of the plan, nor a hybrid of it: they differ in ${change% *}" \
            --plan demo.json --format $format --model changed
    done
done
fails 2 'plan: --model is for --schedule and for --format fast-llm and surgery' --plan demo.json --format csv --model "$demo"

# Half of the layers unless told otherwise; one finished run of the kind is found.
"$program" plan --db scores.db --signal mmr --quiet | grep -q '^ *1 *4 *4 *' || complain "the default stage"

fails 2 'plan: --db FILE (or --plan FILE) is missing'
fails 2 'plan: give --db or --plan, not both' --db scores.db --plan plan.json
fails 2 'plan: takes no argument; give the database as --db, a plan as --plan' scores.db
fails 2 'plan: --plan reads a plan as it is; to rank again give --db' --plan plan.json --stages 3
fails 2 'plan: --run: "1@" is not like 1, last or 2@25' --db scores.db --run 1@
fails 2 'plan: --signal: "mmr@x" is not like loo or mmr@25' --db scores.db --signal mmr@x
fails 1 '"scores.db" has runs of different models (1 and 4); choose with --run' --db scores.db --signal loo
fails 1 'runs 1 and 4 score different models ("model-a" and "model-b")' \
    --db scores.db --run 1 --run 4@2 --stages 4
fails 1 'run 3 is not finished (interrupted, 2 rows, 8 layers): finish it with the command that began it, or add --unfinished to plan from what it has' \
    --db scores.db --run 3 -o x.json
fails 1 '"scores.db" has no finished taylor run' --db scores.db --signal taylor
fails 2 'a stage of 9 layers: the model has 8' --db scores.db --run 1 --stages 9 -o x.json
fails 2 '--stages: must ascend, but 3 follows 4' --db scores.db --run 1 --stages 4,3 -o x.json
fails 2 '--keep: "0-8" goes outside 0 to 7' --db scores.db --run 1 --keep 0-8
fails 2 'a stage of 4 layers: only 3 can be replaced (8 layers in the model, 5 kept, the others without a score in run 1)' \
    --db scores.db --run 1 --keep 0-4 --stages 4
fails 2 'layer 3 is to be kept, but the base of run 2 replaces it' --db scores.db --run 2 --keep 3 --stages 4
fails 2 'plan: --format must be plan, hf, fast-llm, surgery or csv, not "xml"' --plan plan.json --format xml
fails 2 '"plan.json" has 4 stages, there is no stage 5' --plan plan.json --format hf --stage 5
fails 2 'plan: --stage is 0, outside 1 to 1000' --plan plan.json --stage 0
fails 2 '--d-state 5 must divide the head size 16' --plan plan.json --format surgery --d-state 5
fails 1 'cannot write "no/plan.json": No such file or directory' --db scores.db --run 1 -o no/plan.json
sed 's/"count": 4/"count": 5/' plan.json >wrong.json
fails 1 '"wrong.json": "count" is 5, but "layers" has 4' --plan wrong.json

# A database that cannot be written costs only the record. A full disk: nothing half-written.
if unshare -rm true 2>/dev/null; then
    mkdir full
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare -rm sh -eu -c '
        mount -t tmpfs -o size=256k tmpfs full
        cp scores.db full
        head -c 1000000 /dev/zero >full/fill 2>/dev/null || true
        set +e
        "$1" plan --db full/scores.db --run 1 --stages 2 -o full/plan.json >out 2>errors
        echo $? >code
        set -e
        ls full >left
        "$1" plan --db full/scores.db --run 1 --stages 2 -o plan2.json >out2 2>errors2
    ' sh "$program" || complain "a full disk under the database fails the plan: $(cat errors2)"
    [ "$(cat code)" = 1 ] || complain "a full disk: exit code $(cat code)"
    [ "$(cat errors)" = 'apriel-tool: cannot write "full/plan.json": No space left on device' ] ||
        complain "a full disk: $(cat errors)"
    grep -q plan left && complain "a full disk: leaves $(cat left)"
    [ "$(head -n 1 errors2)" = 'warning: the plan is not recorded: cannot write to "full/scores.db": the disk is full' ] ||
        complain "a full disk under the database: $(cat errors2)"
fi
exit $bad
