#!/usr/bin/env python3
"""Log-likelihoods of multiple-choice items with transformers, prompts as in lm-evaluation-harness.

Reads the benchmark files that `apriel-tool eval --task` takes, writes the prompts independently of
it, encodes context + continuation as one text and takes the log-softmax of the logits in float32.

usage: choices.py MODEL TASK=FILE... [--limit N] [--shots K] [--compare scores.db --run N] [-o FILE.json]

--compare prints the largest difference to the log-likelihoods of a run in a score database (the next
run for the next task) and fails above 1e-3. -o writes for each task {"items": [{"number", "gold",
"choices": [log-likelihoods]}], "acc", "acc_norm"}; tests/data/golden/choices.json is that of the demo
model on the files of eval/samples with one shot. --limit takes N items, evenly spread, as the program
does.
"""
import argparse
import json
import os
import re
import sqlite3
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast


def clean(text):
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def normal(record):
    """The fields of the original data sets under this project's names."""
    record = dict(record)
    for pair in (("sol1", "sol2"), ("option1", "option2")):
        if pair[0] in record:
            record["choices"] = [record[name] for name in pair]
    record["context"] = record.get("context") or record.get("goal") or record.get("sentence")
    answer = record.get("answer", record.get("label"))
    if isinstance(answer, str):
        answer = ord(answer) - 65 if answer.isalpha() else int(answer) - ("option1" in record)
    record["answer"] = answer
    return record


def document(task, record):
    """Contexts, continuations (without the blank), gold."""
    choices, gold = list(record["choices"]), record["answer"]
    if task in ("arc", "arc_easy", "arc_challenge", "piqa"):
        return [f"Question: {record['context']}\nAnswer:"] * len(choices), choices, gold
    if task == "hellaswag":
        context = clean(f"{record['activity_label']}: {record['ctx_a']} {record['ctx_b'].capitalize()}")
        return [context] * len(choices), [clean(choice) for choice in choices], gold
    if task == "winogrande":
        gap = record["context"].index("_")
        rest = record["context"][gap + 1:].strip()
        return [record["context"][:gap] + choice for choice in choices], [rest] * len(choices), gold
    if task == "mmlu":
        lines = [record["question"].strip()] + [f"{'ABCDEFGH'[i]}. {c}" for i, c in enumerate(choices)]
        return ["\n".join(lines + ["Answer:"])] * len(choices), list("ABCDEFGH"[:len(choices)]), gold
    if task == "choice":
        return [record["context"]] * len(choices), choices, gold
    sys.exit(f"no task {task}")


def prompts(task, records, shots):
    """(contexts, continuations, gold) with the examples in front, for every item."""
    examples = [r for r in records if r.get("split") in ("dev", "train")]
    items = [r for r in records if r not in examples] if examples else records[shots:]
    if not examples:
        examples = records[:shots]
    for record in items:
        head = ""
        if task == "mmlu":
            subject = record["subject"].replace("_", " ")
            head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        own = [e for e in examples if e.get("subject") == record.get("subject")][:shots]
        assert len(own) == shots, f"{len(own)} examples"
        for example in own:
            contexts, continuations, gold = document(task, example)
            head += f"{contexts[gold]} {continuations[gold]}\n\n"
        contexts, continuations, gold = document(task, record)
        yield [head + context for context in contexts], continuations, gold


@torch.no_grad()
def likelihood(model, tokenizer, context, continuation):
    first = tokenizer(context, add_special_tokens=False)["input_ids"]
    both = tokenizer(f"{context} {continuation}", add_special_tokens=False)["input_ids"]
    logits = model(torch.tensor([both[:-1]])).logits[0, len(first) - 1:].float()
    target = torch.tensor(both[len(first):])
    return torch.log_softmax(logits, -1)[torch.arange(len(target)), target].double().sum().item()


def evaluate(model, tokenizer, task, path, options):
    with open(path) as file:
        items = list(prompts(task, [normal(json.loads(line)) for line in file], options.shots))
    if options.limit and options.limit < len(items):
        items = [items[i * len(items) // options.limit] for i in range(options.limit)]
    results, acc, acc_norm = [], 0, 0
    for number, (contexts, continuations, gold) in enumerate(items):
        values = [likelihood(model, tokenizer, *pair) for pair in zip(contexts, continuations)]
        norm = [value / len(text) for value, text in zip(values, continuations)]
        acc += values.index(max(values)) == gold
        acc_norm += norm.index(max(norm)) == gold
        results.append({"number": number, "gold": gold, "choices": [round(v, 6) for v in values]})
    acc, acc_norm = acc / len(items), acc_norm / len(items)
    print(f"{task}: {len(items)} items, acc {acc:.4f}, acc_norm {acc_norm:.4f}")
    return {"items": results, "acc": acc, "acc_norm": acc_norm}


def compare(items, database, run):
    found = sqlite3.connect(database).execute(
        "SELECT row, choice, loglikelihood FROM choice WHERE run = ?", (run,)).fetchall()
    expected = {(item["number"], c): v for item in items for c, v in enumerate(item["choices"])}
    assert {(row, choice) for row, choice, _ in found} == set(expected), "other items or choices"
    worst = max(abs(value - expected[row, choice]) for row, choice, value in found)
    print(f"largest difference of {len(found)} log-likelihoods: {worst:.2e}")
    if not worst <= 1e-3:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--compare")
    parser.add_argument("--run", type=int, default=1)
    parser.add_argument("-o", dest="output")
    options = parser.parse_args()
    if os.path.exists(os.path.join(options.model, "tokenizer_config.json")):
        tokenizer = AutoTokenizer.from_pretrained(options.model)
    else:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(options.model, "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    output = {}
    for index, text in enumerate(options.tasks):
        task, path = text.split("=", 1)
        result = output[task] = evaluate(model, tokenizer, task, path, options)
        if options.compare:
            compare(result["items"], options.compare, options.run + index)
    if options.output:
        with open(options.output, "w") as file:
            json.dump(output, file)
            file.write("\n")


if __name__ == "__main__":
    main()
