#!/bin/sh
# Apriel-H1's first two decisions for Apriel-Nemotron-15B-Thinker: which 25 layers go first, and the
# hybrid they make. Run it where the teacher and its SFT traces are:
#
#   recipes/apriel-15b/run.sh TEACHER TRACES.jsonl WORK
#
# TEACHER is the Hugging Face directory; TRACES.jsonl has a "prompt" and a "response" (the teacher's
# own reasoning trace) a line. Every step can be stopped and run again: it continues.
set -eu
teacher=$1
traces=$2
work=$3
tool=${APRIEL_TOOL:-apriel-tool}
mkdir -p "$work"

# What each number of Mamba layers would save.
"$tool" inspect "$teacher" --layers-replaced 0,25,27,30,34,37,40

# The traces, in rows of 4,096 tokens, with a loss mask on the responses. 64 rows score every layer
# to a few per cent; more tighten the standard errors, in proportion to the square root.
[ -f "$work/traces.h5" ] ||
    "$tool" data --tokenizer "$teacher" -o "$work/traces.h5" --seq-len 4096 --limit-tokens 262144 "$traces"

# Leave-one-out over all 50 layers. The paper removes the mixer and scores a benchmark (MMLU); kl on
# the traces needs no benchmark and has far smaller standard errors.
"$tool" loo "$teacher" --data "$work/traces.h5" --db "$work/scores.db"
"$tool" scores --db "$work/scores.db" --run 1

# The stages. The first 25 layers come from leave-one-out; the paper chooses the later ones by MMR on
# the distilled hybrid, 3 to 5 layers at a time, and "--run 1 --run 2@25" makes a plan of the two.
"$tool" plan --db "$work/scores.db" --run 1 --stages 25,27,30,34,37,40 -o "$work/plan.json"
"$tool" chart --db "$work/scores.db" --plan "$work/plan.json" -o "$work/importance.svg"

# What the stages gain in speed on this device, with as many sequences as it holds and with 1 and 8.
"$tool" bench "$teacher" --kind m2 --plan "$work/plan.json" --batch auto,1,8 --db "$work/scores.db"
"$tool" chart --kind throughput --db "$work/scores.db" -o "$work/throughput.svg"

# Stage 1. As published: --init published --d-state 16 --dt-rank 320.
[ -d "$work/h25" ] ||
    "$tool" convert "$teacher" --kind m2 --plan "$work/plan.json" --stage 1 -o "$work/h25"
"$tool" eval "$work/h25" --teacher "$teacher" --data "$work/traces.h5" --rows 4

# Then distil "$work/h25" (the paper: 26 billion tokens, reverse KL, temperature 1), and go on from
# the result: convert --from DISTILLED --stage 2, and so on. For Fast-LLM as the trainer:
"$tool" plan --plan "$work/plan.json" --stage 1 --format fast-llm -o "$work/fast-llm.yaml"
