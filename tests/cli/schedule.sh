#!/bin/sh
# plan --schedule: the script that it prints, the same run with --auto, stopped and continued, and
# what it refuses.
. "$(dirname "$0")/common.sh"
always=plan

# schedule WORK DATABASE OPTIONS...: 2 layers, then 3, then 5, two at a time
schedule() {
    work=$1 db=$2
    shift 2
    "$program" plan --schedule 2,3,5 --group 2 --model "$demo" --data rows.h5 --db "$db" --work "$work" \
        --keep first "$@"
}

head -n 6 "$golden/ids.jsonl" | "$tests/make_tokens" rows.h5 2048

# Printed: a script that a shell runs.
schedule "my steps" printed.db --mmr-options "--steps 3 --batch 2 --heldout 2" --kind m2 --d-state 32 >script
cat >script.expected <<X
set -e
mkdir -p 'my steps'
# 2 layers, by leave-one-out
apriel-tool loo $demo --data rows.h5 --db printed.db --run-file 'my steps/run-2'
apriel-tool plan --db printed.db --run "\$(cat 'my steps/run-2')" --stages 2 --keep first --kind m2 -o 'my steps/plan-2.json'
apriel-tool convert $demo --plan 'my steps/plan-2.json' --kind m2 --d-state 32 -o 'my steps/hybrid-2'
# Apriel-H1 distils here: my steps/hybrid-2-distilled, when it is there, is the next base

# 2 to 3 layers, by MMR on top of the hybrid of 2
apriel-tool mmr $demo --data rows.h5 --db printed.db --base 'my steps/hybrid-2' --kind m2 --d-state 32 --steps 3 --batch 2 --heldout 2 --run-file 'my steps/run-3'
X
head -n 10 script | diff -u script.expected - >&2 || complain "another script"
[ ! -e "my steps" ] || complain "printing makes the directory"
mkdir bin
ln -s "$program" bin/apriel-tool
PATH=$temporary/bin:$PATH sh script >printed 2>&1 || complain "the script fails: $(tail -n 1 printed)"

# Run: the same plans, every command printed.
schedule auto auto.db --mmr-options "--steps 3 --batch 2 --heldout 2" --kind m2 --d-state 32 --auto --quiet >auto.log ||
    complain "--auto: exit code $?"
[ "$(grep -c '^\$ apriel-tool ' auto.log)" = 10 ] || complain "--auto prints $(grep -c '^\$ apriel-tool ' auto.log) commands"
for n in 2 3 5; do
    cmp "auto/plan-$n.json" "my steps/plan-$n.json" || complain "--auto and the script plan $n layers differently"
    cmp "auto/hybrid-$n/model.safetensors" "my steps/hybrid-$n/model.safetensors" ||
        complain "--auto and the script make different hybrids of $n layers"
done
grep -q '"count": 2,' auto/plan.json && grep -q '"count": 3,' auto/plan.json && grep -q '"count": 5,' auto/plan.json ||
    complain "not all stages in the last plan"
grep -q '"keep": \[0\]' auto/plan.json || complain "the last plan does not keep layer 0"
"$program" inspect auto/hybrid-5 >inspected || complain "hybrid-5 cannot be read"

# Stopped inside the second MMR run, the same command goes on to the same plan.
found=0
schedule parts parts.db --mmr-options "--steps 3 --batch 2 --heldout 2 --limit-steps 4" --kind m2 --d-state 32 --auto --quiet \
    >parts.log 2>errors || found=$?
[ $found -eq 130 ] || complain "a stopped schedule: exit code $found, $(cat errors)"
[ -e parts/hybrid-2 ] && [ ! -e parts/plan-3.json ] || complain "a stopped schedule: not where it was to stop"
schedule parts parts.db --mmr-options "--steps 3 --batch 2 --heldout 2" --kind m2 --d-state 32 --auto --json >parts.json 2>errors ||
    complain "a continued schedule: exit code $?, $(cat errors)"
cmp auto/plan.json parts/plan.json || complain "a stopped schedule ends with another plan"
[ "$(grep -c '"found": true' parts.json)" = 3 ] || complain "a continued schedule finds $(grep -c '"found": true' parts.json) results"
[ "$(head -c 1 parts.json)" = "{" ] || complain "--json mixes the commands' output with the document"

# A script takes the run that its command finds, not the latest of a kind: by its number where the
# database has it, else as the command writes it.
"$program" loo "$demo" --data rows.h5 --db printed.db --ablate block --run-file number --quiet >out || complain "loo: exit code $?"
[ "$(cat number)" = 4 ] || complain "loo --run-file writes $(cat number)"
schedule new printed.db --mmr-options "--steps 2 --batch 2 --heldout 2" --kind m2 --d-state 32 >script 2>errors
[ ! -s errors ] || complain "a script in a database with runs: $(cat errors)"
[ "$(grep -c -e '--run 1 --stages 2 ' script)" = 1 ] || complain "not the run that is there: $(cat script)"
PATH=$temporary/bin:$PATH sh script >printed 2>&1 || complain "the script in a database with runs fails: $(tail -n 1 printed)"
[ "$(cat new/run-3) $(cat new/run-5)" = "5 6" ] || complain "other runs than the script's own: $(cat new/run-*)"
cmp new/plan-2.json auto/plan-2.json || complain "a script takes another run than its own"
grep -q '"run": 5' new/plan-3.json || complain "plan-3 is not of the run that the script began"
rm new/plan-3.json new/plan-5.json && rm -r new/hybrid-3 new/hybrid-5
schedule new printed.db --mmr-options "--steps 2 --batch 2 --heldout 2" --kind m2 --d-state 32 >script
grep -q '^apriel-tool plan --db printed.db --run 5 --stages 3 ' script || complain "an mmr run that is there is not taken: $(cat script)"
schedule unmade absent.db >out 2>errors
[ ! -s errors ] && [ ! -e absent.db ] || complain "a new database: $(cat errors)"

# All done: nothing to run but the last plan.
made() {
    schedule auto auto.db --mmr-options "--steps 3 --batch 2 --heldout 2" --kind m2 --d-state 32 "$@"
}
made | grep -v '^# ' | grep apriel-tool && complain "what is done is to be done again"
# An earlier version's list of layers is read too.
tr -d '\n' <auto/hybrid-2/apriel-tool.json |
    sed 's/"replaced_layers": *{ *"m2": *\(\[[^]]*\]\) *}/"mamba_layers": \1/' >former.json
grep -q '"mamba_layers": \[' former.json || complain "no list of layers: $(cat former.json)"
cp former.json auto/hybrid-2/apriel-tool.json
made --auto --json >again.json 2>errors || complain "again: $(cat errors)"
[ "$(grep -c '"found": true' again.json)" = 9 ] || complain "a finished schedule is made again: $(cat again.json)"
cmp auto/plan.json parts/plan.json || complain "a finished schedule gets another last plan"

# What is there answers the schedule that it was made for, and no other. differs FILE WHAT OPTIONS...
differs() {
    file=$1 what=$2
    shift 2
    for mode in "" --auto; do
        found=0
        # shellcheck disable=SC2086 # no word without --auto
        made "$@" $mode >out 2>errors || found=$?
        [ $found -eq 1 ] || complain "$* $mode: exit code $found"
        grep -qF "\"auto/$file\" was made for another schedule: $what differs; use another --work directory, or remove what is in this one" errors ||
            complain "$* $mode: $(cat errors)"
    done
}
head -n 5 "$golden/ids.jsonl" | "$tests/make_tokens" others.h5 2048
cp -R "$demo" another
chmod -R u+w another
printf '\001' | dd of=another/model.safetensors bs=1 seek=$(($(wc -c <another/model.safetensors) - 2)) conv=notrunc 2>errors
M="--steps 3 --batch 2 --heldout 2"
differs plan-2.json 'token set' --data others.h5
differs plan-2.json model --model another
differs plan-2.json keep --keep last
differs plan-2.json ablate --loo-options '--ablate block'
differs plan-2.json 'kind of run' --loo-options '--estimate cosine'
differs plan-2.json layers --loo-options '--layers 0-4'
differs hybrid-2 init.d_state --d-state 16
differs hybrid-2 init.gate --gate random
differs hybrid-2 seed --convert-options '--seed 1'
differs hybrid-2 architecture --convert-options '--format apriel2'
differs plan-3.json steps --mmr-options "--steps 4 --batch 2 --heldout 2"
differs plan-3.json seed --mmr-options "$M --seed 1"
differs plan-3.json seeds --mmr-options "$M --seeds 2"
differs plan-3.json loss --mmr-options "$M --loss fkl"
differs plan-3.json init.gate --mmr-options "$M --gate random"
made --mmr-options "$M --together 2" --loo-options '--group-tokens 300' >out 2>errors ||
    complain "options of speed count: $(cat errors)"
mkdir moved && cp -R auto auto.db rows.h5 moved && (cd moved && made --auto) >out 2>errors ||
    complain "what is copied elsewhere is not found: $(cat errors)"
# A distilled hybrid is the next base, and not the base of what was made before it.
cp -R auto/hybrid-5 auto/hybrid-5-distilled
made --schedule 2,3,5,6 | grep -q "^apriel-tool mmr $demo --data rows.h5 --db auto.db --base auto/hybrid-5-distilled --kind m2 --d-state 32 $M --run-file auto/run-6\$" ||
    complain "a distilled hybrid is not the next base"
cp -R auto/hybrid-2 auto/hybrid-2-distilled
printf '\001' | dd of=auto/hybrid-2-distilled/model.safetensors bs=1 seek=$(($(wc -c <auto/hybrid-2-distilled/model.safetensors) - 2)) conv=notrunc 2>errors
differs plan-3.json base_fingerprint
rm -r auto/hybrid-2-distilled
# Files that were changed or belong to another schedule.
sed 's/"score": [0-9]/"score": 7/' auto/plan-2.json >changed.json
mv auto/plan-2.json kept.json && mv changed.json auto/plan-2.json
differs plan-2.json ranking
mv kept.json auto/plan-2.json
mv auto/hybrid-2/apriel-tool.json kept.json
made >out 2>errors && complain "a hybrid of nobody knows whom is used"
grep -q '"auto/hybrid-2/apriel-tool.json"' errors || complain "a hybrid without provenance: $(cat errors)"
mv kept.json auto/hybrid-2/apriel-tool.json
mv auto/hybrid-3 gone
made >out 2>errors && complain "a plan whose base is gone is used"
grep -qF '"auto/hybrid-3", which "auto/plan-5.json" was made of, is missing: --auto makes it again' errors || complain "a base that is gone: $(cat errors)"
made --auto --quiet >out 2>errors || complain "a base that is gone is not made again: $(cat errors)"
cmp gone/model.safetensors auto/hybrid-3/model.safetensors || complain "a base made again is another"

ends 1 '"auto/plan-5.json" is not the step of 2 to 5 layers that the schedule has there: use another --work directory' \
    --schedule 2,5 --model "$demo" --data rows.h5 --db auto.db --work auto --kind m2 --d-state 32 --keep first
ends 1 '"auto/plan-5.json" is there without plan-4.json: use another --work directory' \
    --schedule 2,4,5 --model "$demo" --data rows.h5 --db auto.db --work auto --auto
rm auto/plan-3.json
ends 1 '"auto/hybrid-3" is there without plan-3.json: use another --work directory' \
    --schedule 2,3 --model "$demo" --data rows.h5 --db auto.db --work auto --kind m2 --d-state 32 --keep first
for words in '--db=x.db' '--data x.h5' '--dry-run' '--base x' '-h'; do
    fails 2 "plan: --mmr-options: \"${words%%[ =]*}\" is not for a command of a schedule, which has its own" \
        --schedule 2,5 --model "$demo" --data rows.h5 --db a.db --work a "--mmr-options=$words"
done
for words in '-ox' '--layers 1' '--stage 1'; do
    fails 2 "plan: --convert-options: \"$(echo "$words" | sed 's/^\(-o\|--[a-z]*\).*/\1/')\" is not for a command of a schedule, which has its own" \
        --schedule 2,5 --model "$demo" --data rows.h5 --db a.db --work a "--convert-options=$words"
done
# Further options are words as a shell reads them, by the commands' own tables.
words="--steps 3 --batch 2 --heldout 2 --cache-dir 'my \"states\"'"
schedule quoted auto.db --mmr-options "$words" --kind m2 --d-state 32 --keep first >script
grep -qF -e "--heldout 2 --cache-dir 'my \"states\"' --run-file quoted/run-3" script || complain "quoted words: $(cat script)"
mkdir 'my "states"'
for words in "'my \"states\"'" '"my \"states\""' 'my\ \"states\"' "\"my \"'\"states\"'"; do
    schedule quoted auto.db --auto --json --kind m2 --d-state 32 --mmr-options "--steps 3 --batch 2 --heldout 2 --cache-dir=$words" >out 2>errors ||
        complain "--cache-dir=$words: $(cat errors)"
    grep -qF -e "'--cache-dir=my \\\"states\\\"'" out || complain "--cache-dir=$words is not printed: $(cat out)"
done
fails 2 "plan: --mmr-options: a quote does not end in \"'my states\"" \
    --schedule 2,5 --model "$demo" --data rows.h5 --db a.db --work a --mmr-options "--cache-dir 'my states"
fails 2 'mmr: unknown option "--step"; did you mean --steps? (see apriel-tool mmr --help)' \
    --schedule 2,5 --model "$demo" --data rows.h5 --db a.db --work a --mmr-options '--step 3'
fails 2 'loo: --group-tokens cannot be "many": a whole number, like 100, 4k, 4Ki or 1e6' \
    --schedule 2,5 --model "$demo" --data rows.h5 --db a.db --work a --loo-options '--group-tokens many'
fails 2 'plan: --convert-options: "x" is no option' \
    --schedule 2,5 --model "$demo" --data rows.h5 --db a.db --work a --convert-options 'x'
[ ! -e a ] && [ ! -e a.db ] || complain "wrong further options are told too late"
fails 2 'plan: --schedule needs --model, --data, --db and --work' --schedule 2,5 --model "$demo" --db a.db --work a
fails 2 'plan: --schedule chooses runs, stages and files itself: give it no --plan, --run, --signal, --metric, --stages, --unfinished, --format or -o' \
    --schedule 2,5 --model "$demo" --data rows.h5 --db a.db --work a --stages 5
fails 2 '--schedule: must ascend, but 2 follows 5' --schedule 5,2 --model "$demo" --data rows.h5 --db a.db --work a
fails 2 '--schedule: "5," is not a list like 25,27,30' --schedule 5, --model "$demo" --data rows.h5 --db a.db --work a
fails 2 'plan: --auto belongs to --schedule' --db auto.db --run 1 --auto
fails 2 'plan: --group is 0, outside 1 to 1000' --schedule 2 --group 0
fails 1 'cannot make the directory "no/work": No such file or directory' \
    --schedule 2 --model "$demo" --data rows.h5 --db a.db --work no/work --auto
# So are the stages and the layers to keep.
for stages in 13 2,13; do
    fails 2 "--schedule: a stage of 13 layers: \"$demo\" has 12, 0 of them kept" \
        --schedule $stages --model "$demo" --data rows.h5 --db a.db --work a --auto
done
fails 2 "--schedule: a stage of 12 layers: \"$demo\" has 12, 2 of them kept" \
    --schedule 2,12 --model "$demo" --data rows.h5 --db a.db --work a --keep 0,11
fails 2 '--keep: "12" goes outside 0 to 11' --schedule 2 --model "$demo" --data rows.h5 --db a.db --work a --keep 12
fails 2 '--schedule: a stage of 3 layers: "auto/hybrid-3" has 3 replaced already' \
    --schedule 3,5 --model auto/hybrid-3 --data rows.h5 --db a.db --work a
[ ! -e a ] && [ ! -e a.db ] || complain "something is made before a schedule is checked"
# A hybrid is a model too.
for again in 1 2; do
    "$program" plan --schedule 4,5 --model auto/hybrid-3 --data rows.h5 --db h.db --work h --auto --json --mmr-options "$M" >h.json 2>errors ||
        complain "a schedule from a hybrid ($again): $(cat errors)"
done
[ "$(grep -c '"found": true' h.json)" = 6 ] || complain "a schedule from a hybrid is made again"
mkdir shut && chmod 555 shut
if [ "$(id -u)" != 0 ]; then
    fails 1 'cannot write into "shut": Permission denied' --schedule 2 --model "$demo" --data rows.h5 --db a.db --work shut --auto
fi
# The format is chosen and checked before the first run.
"$program" plan --schedule 1,2 --model "$models/qwen2-tied" --data rows.h5 --db a.db --work a --gate random >script
[ "$(grep -c '^apriel-tool convert .* --gate random -o ' script)" = 2 ] || complain "no format for a Qwen model: $(cat script)"
fails 1 "\"$models/qwen2-tied\" has attention biases, which apriel-h1 cannot express; use --convert-options \"--format apriel2\"" \
    --schedule 1,2 --model "$models/qwen2-tied" --data rows.h5 --db a.db --work a --auto --convert-options '--format apriel-h1'
fails 2 'convert: --format must be granite-hybrid, qwen3.5, native, apriel-h1 or apriel2, not "gguf"' \
    --schedule 1,2 --model "$demo" --data rows.h5 --db a.db --work a --auto --convert-options=--format=gguf
fails 2 'plan: --schedule shows no stage and no estimate: there is nothing for --memory to say' \
    --schedule 2 --model "$demo" --data rows.h5 --db a.db --work a --memory 24G
ends 1 'cannot open "absent.h5": No such file or directory' \
    --schedule 2 --model "$demo" --data absent.h5 --db a.db --work work --auto
exit $bad
