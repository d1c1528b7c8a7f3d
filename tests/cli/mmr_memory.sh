#!/bin/sh
# mmr's memory is as it was foreseen, within 20 %; blocks are recomputed when their activations do
# not fit, with the same scores.
. "$(dirname "$0")/common.sh"

"$program" data --tokenizer "$demo" -o rows.h5 --seq-len 256 --quiet "$source/recipes/gsm8k-excerpt.jsonl" >/dev/null

field() { sed -n "s/^ *\"$1\": \([a-z0-9]*\).*/\1/p" out.json; }
# foreseen DATABASE OPTIONS...: a run of its own, its peak against the prediction
foreseen() {
    db=$1
    shift
    "$program" mmr "$demo" --data rows.h5 --db "$db" --device cpu --json "$@" >out.json || complain "mmr $*: exit code $?"
    predicted=$(field predicted_bytes) peak=$(field peak_bytes)
    awk -v a="$predicted" -v b="$peak" 'BEGIN { exit !(a > 0 && b > 0 && a > 0.8 * b && a < 1.2 * b) }' ||
        complain "mmr $*: $predicted bytes foreseen, $peak at the peak"
    echo "mmr $*: $predicted foreseen, $peak at the peak"
}

# The note, its parts, the dry run's table and document, and what the run says afterwards are one
# account; only what the program has before differs from run to run (by less than 1 MB).
same="--data rows.h5 --device cpu --steps 3 --batch 1 --heldout 4 --layers 6,7"
# shellcheck disable=SC2086 # words
"$program" mmr "$demo" $same --dry-run >dry
# shellcheck disable=SC2086
"$program" mmr "$demo" $same --db note.db >/dev/null 2>note
# shellcheck disable=SC2086
"$program" mmr "$demo" $same --db json.db --json >out.json
sed -n 's/^memory: //p' note | tr ',;' '\n\n' | sed 's/^ *//' | grep -v -e ^program -e '^in all' >parts
awk '/^weights/, /^in all/ { name = $1; for (i = 2; i <= NF - 3; i++) name = name " " $i; print name, $(NF - 1), $NF }' dry |
    grep -v -e ^program -e '^in all' >rows
[ -s parts ] && diff rows parts >&2 || complain "the note has other parts than the dry run"
awk '/^in all/ { all = $3 } /^[a-z].* [0-9]+ / && !/^in all/ { for (i = 1; i < NF; i++) if ($i ~ /^[0-9]+$/ && $(i + 2) ~ /B$/) sum += $i } END { exit !(all == sum) }' dry ||
    complain "the parts do not sum up: $(cat dry)"
awk -v a="$(awk '/^in all/ { print $3 }' dry)" -v b="$(field predicted_bytes)" 'BEGIN { exit !((a - b) ^ 2 < 1e12) }' ||
    complain "the dry run says $(awk '/^in all/ { print $3 }' dry), the run $(field predicted_bytes)"

foreseen one.db --steps 3 --batch 1 --heldout 4 --layers 6
foreseen two.db --steps 4 --batch 4 --heldout 16 --layers 6,8
foreseen many.db --steps 2 --batch 16 --heldout 16 --layers 6
foreseen file.db --steps 2 --batch 16 --heldout 16 --layers 6 --cache-dir .
foreseen layer.db --steps 2 --batch 16 --heldout 16 --layers 4 --d-state 32 --train layer
foreseen all.db --steps 2 --batch 8 --heldout 16 --layers 9 --train all
[ "$(field recomputed)" = false ] || complain "blocks are recomputed without need"

"$program" convert "$demo" --layers 7,8 -o hybrid --quiet >/dev/null
foreseen hybrid.db --steps 2 --batch 8 --heldout 16 --layers 4 --base hybrid

# Asked for, and chosen: the same scores as with all activations kept.
foreseen plain.db --steps 2 --batch 8 --heldout 16 --layers 2
kept=$(field peak_bytes)
limit=$("$program" mmr "$demo" --data rows.h5 --db dry.db --device cpu --steps 2 --batch 8 --heldout 16 --layers 2 --dry-run |
    awk '/^in all/ { print $3 - 60000000 }')
foreseen asked.db --steps 2 --batch 8 --heldout 16 --layers 2 --recompute
[ "$(field recomputed)" = true ] || complain "--recompute does nothing"
[ "$(field peak_bytes)" -lt $((kept - 60000000)) ] || complain "--recompute: $(field peak_bytes) bytes instead of $kept"
foreseen chosen.db --steps 2 --batch 8 --heldout 16 --layers 2 --device-memory $limit
[ "$(field recomputed)" = true ] || complain "blocks are not recomputed where $limit bytes are allowed"
for db in plain asked chosen; do
    "$program" scores --db $db.db --run 1 --export sequences >$db.csv
    cmp plain.csv $db.csv || complain "$db: other scores"
done
# Where the layers do not fit either, they are streamed for as many probes in lock step as fit.
limit=$("$program" mmr "$demo" --data rows.h5 --device cpu --steps 2 --batch 4 --heldout 16 --layers 3,6,9 --recompute \
    --dry-run | awk '/^kept teacher logits/ { kept = $4 } /^in all/ { print $3 - kept - 1000000 }')
foreseen apart.db --steps 2 --batch 4 --heldout 16 --layers 3,6,9
[ "$(field together)" = 1 ] || complain "probes in lock step although layers are kept"
foreseen together.db --steps 2 --batch 4 --heldout 16 --layers 3,6,9 --device-memory $limit
[ "$(field together)" -gt 1 ] || complain "where $limit bytes are allowed: $(field together) probe in lock step"
loaded=$(field loaded_bytes)
"$program" mmr "$demo" --data rows.h5 --device cpu --steps 2 --batch 4 --heldout 16 --layers 3,6,9 --device-memory $limit \
    --dry-run | grep -q ' probes in lock step; a step of a probe loads [0-9.]* MB of weights (alone [0-9.]* MB) for ' ||
    complain "a dry run does not say what a step loads"
foreseen single.db --steps 2 --batch 4 --heldout 16 --layers 3,6,9 --device-memory $limit --together 1
[ $((loaded * 5)) -lt $(($(field loaded_bytes) * 4)) ] || complain "$loaded bytes loaded in lock step, $(field loaded_bytes) one by one"
for db in apart together; do "$program" scores --db $db.db --run 1 --export sequences >$db.csv; done
cmp apart.csv together.csv || complain "streamed in lock step: other scores"
code=0
"$program" mmr "$demo" --data rows.h5 --db no.db --device cpu --quiet --batch 16 --device-memory 20M >out 2>errors || code=$?
[ $code -eq 1 ] && grep -q '^apriel-tool: the probe needs .* and --device-memory allows 20.0 MB: use a smaller --batch or --cache-dir$' errors ||
    complain "what does not fit even so: exit code $code, $(cat errors)"
exit $bad
