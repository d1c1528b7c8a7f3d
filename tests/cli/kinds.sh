#!/bin/sh
# The kinds that stock engines serve, from a probe to the hybrid, and what cannot hold them.
. "$(dirname "$0")/common.sh"
always=mmr

head -n 6 "$golden/ids.jsonl" | "$tests/make_tokens" rows.h5 2048
for kind in mamba2 gdn; do
    "$program" mmr "$demo" --data rows.h5 --db $kind.db --kind $kind --layers 9,11 --steps 3 --batch 2 --heldout 2 \
        --quiet >probed || complain "mmr of $kind: exit code $?"
    # Three steps of training help.
    awk '$1 == 9 || $1 == 11 { n += $5 < $4 } END { exit n != 2 }' probed || complain "$kind: $(cat probed)"
    "$program" plan --db $kind.db --stages 1,2 --kind $kind -o $kind.json --quiet >planned ||
        complain "plan of $kind: exit code $?"
done
# A plan that says its layers' kinds is not overruled, nor does it win in silence.
leave='leave --kind out, the plan has the kinds'
for kind in m2 gdn window:64; do
    says="--kind $kind contradicts \"mamba2.json\", which replaces layer 9 by mamba2: $leave"
    fails 1 "$says" convert "$demo" --plan mamba2.json --kind $kind -o hybrid
    fails 1 "$says" convert "$demo" --plan mamba2.json --kind $kind --dry-run
    fails 1 "$says" plan --plan mamba2.json --kind $kind --format csv
    fails 1 "$says" plan --plan mamba2.json --kind $kind
done
for format in hf fast-llm surgery; do
    fails 1 "\"mamba2.json\": $format cannot say Mamba-2 mixers" plan --plan mamba2.json --kind mamba2 --format $format
    fails 1 "\"gdn.json\": $format cannot say Gated DeltaNet mixers" plan --plan gdn.json --kind gdn --format $format
done
fails 1 "\"$demo\" has Gated DeltaNet mixers, which apriel-h1 cannot express; use --format apriel2" \
    convert "$demo" --plan gdn.json --kind gdn --format apriel-h1 -o hybrid
for format in apriel-h1 apriel2; do
    fails 1 "\"$demo\" has Mamba-2 mixers, which $format cannot express; no format does yet" \
        convert "$demo" --plan mamba2.json --kind mamba2 --format $format -o hybrid
done
"$program" convert "$demo" --plan gdn.json --kind gdn -o hybrid >written || complain "convert: exit code $?"
grep -q '^wrote hybrid: Apriel2ForCausalLM, 2 of 12 layers Gated DeltaNet (9,11), new: 9,11; ' written ||
    complain "convert: $(cat written)"
"$program" inspect hybrid >inspected
[ "$(grep -c '^  [0-9]* *gdn: no attention to replace$' inspected)" = 2 ] || complain "inspect: $(cat inspected)"
"$program" eval hybrid --data rows.h5 --teacher "$demo" --device cpu --quiet >evaluated || complain "eval: exit code $?"
awk '$1 == "kl" { found = $2 > 0 && $2 < 1 } END { exit !found }' evaluated || complain "eval: $(cat evaluated)"
"$program" generate hybrid --prompt "Natalia sold" --max-tokens 4 --quiet >generated || complain "generate: exit code $?"
[ -s generated ] || complain "generate prints nothing"
