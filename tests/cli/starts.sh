#!/bin/sh
# How new mixers start: sizes that are asked for, and what is fitted to data.
. "$(dirname "$0")/common.sh"

head -n 6 "$golden/ids.jsonl" | "$tests/make_tokens" rows.h5 2048
# Fewer states and groups: in the probe, the plan, the hybrid and what reads it.
"$program" mmr "$demo" --data rows.h5 --db small.db --kind gdn --layers 9 --steps 1 --batch 2 --heldout 2 --d-state 8 \
    --groups 2 --calibrate rows.h5 --calibrate-tokens 256 --quiet >probed || complain "mmr of fewer states: exit code $?"
"$program" scores --db small.db --json >found
for part in '"d_key": 8' '"n_key_heads": 2' '"memory": "fitted"' '"calibrate_tokens": 256'; do
    grep -q "$part" found || complain "a run does not say $part: $(cat found)"
done
"$program" convert "$demo" --layers 9 --kind gdn --d-state 8 --groups 2 --format apriel2 -o small --quiet >written
"$program" inspect small | grep -q '^  9  *gdn, n_key_heads 2, d_key 8: no attention' || complain "inspect: $("$program" inspect small)"
"$program" eval small --data rows.h5 --teacher "$demo" --device cpu --quiet >evaluated || complain "eval of fewer states: exit code $?"
for words in 'mamba2 --d-state 64' 'gdn --d-state 33' 'mamba2 --d-state 48'; do
    number=${words##* }
    # shellcheck disable=SC2086 # words
    fails 2 "--d-state $number is more than the attention's head size 32" mmr "$demo" --data rows.h5 --db x.db --heldout 2 --kind $words
done
for words in 'mamba2 --groups 3' 'gdn --groups 8' 'gdn --groups 3'; do
    number=${words##* }
    # shellcheck disable=SC2086 # words
    fails 2 "--groups $number must divide the attention's 4 heads" mmr "$demo" --data rows.h5 --db x.db --heldout 2 --kind $words
done
fails 2 '--groups says nothing about Mamba mixers' mmr "$demo" --data rows.h5 --db x.db --heldout 2 --kind m2 --groups 2
fails 2 '--memory fitted needs data: give --calibrate FILE.h5' mmr "$demo" --data rows.h5 --db x.db --heldout 2 --memory fitted
fails 2 '--calibrate-tokens needs --calibrate FILE.h5' mmr "$demo" --data rows.h5 --db x.db --heldout 2 --calibrate-tokens 64
fails 2 '--calibrate says nothing about window mixers' mmr "$demo" --data rows.h5 --db x.db --heldout 2 --kind window:4 --calibrate rows.h5
