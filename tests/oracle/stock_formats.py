#!/usr/bin/env python3
"""Hybrids in the formats of stock architectures against transformers' own classes (development only).

Converts each model with no layer, one, half and all of its layers replaced, loads what was written
with AutoModelForCausalLM (no custom code) in float32, and compares:
  - the logits of ROW tokens with ours (build/tests/print_logits): within 1e-4 of the largest, or, where
    rounding alone is as large, no farther from theirs in float64 than twice theirs in float32; with no
    layer replaced, with the teacher's own as well
  - after save_pretrained, ours of the saved directory with ours before
  - greedy text of ten prompts with their cache (tests/oracle/greedy.py), unless all are replaced
  - BF16: what their class in BF16 loses with none replaced, beside what the teacher loses in BF16

usage: stock_formats.py BUILD WORK [--greedy] [--tokens 64] MODEL=KIND[=FORMAT]...
"""
import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy
import torch
from transformers import AutoModelForCausalLM

ROW = 48


def ours(build, directory, ids):
    done = subprocess.run([f"{build}/tests/print_logits", directory, *map(str, ids)],
                          capture_output=True, check=True)
    return numpy.frombuffer(done.stdout, "float32").reshape(len(ids), -1)


def load(directory, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()


@torch.no_grad()
def theirs(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def difference(a, b):
    return float(numpy.abs(a - b).max() / numpy.abs(b).max())


def check(options, model, kind, form, name, layers, ids):
    out = os.path.join(options.work, f"{os.path.basename(model.rstrip('/'))}-{kind.replace(':', '')}-{name}")
    shutil.rmtree(out, ignore_errors=True)
    command = [f"{options.build}/apriel-tool", "convert", model, "--layers", layers, "-o", out, "-q"]
    command += (["--format", form] if form else []) + (["--kind", kind] if layers != "none" else [])
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    model_class = load(out)
    mine = ours(options.build, out, ids)
    result = {"logits": difference(theirs(model_class, ids), mine)}
    if result["logits"] > 1e-4:  # rounding that many untrained layers make large? both against F64
        exact = theirs(load(out, torch.float64), ids)
        result["ours, F64"] = difference(mine, exact)
        result["theirs, F64"] = difference(theirs(model_class, ids), exact)
    if name == "none":
        result["teacher, ours"] = difference(mine, ours(options.build, model, ids))
        result["teacher, theirs"] = difference(theirs(model_class, ids), theirs(load(model), ids))
        exact = theirs(load(model), ids)
        result["BF16 against F32"] = difference(theirs(load(out, torch.bfloat16), ids), exact)
        result["teacher's"] = difference(theirs(load(model, torch.bfloat16), ids), exact)
    saved = out + "-saved"
    shutil.rmtree(saved, ignore_errors=True)
    model_class.save_pretrained(saved)
    result["saved again"] = difference(ours(options.build, saved, ids), mine)
    config = json.load(open(os.path.join(out, "config.json")))
    text = "  ".join(f"{key} {value:.1e}" for key, value in result.items())
    print(f"{out}: {config['architectures'][0]}: {text}", flush=True)
    # what BF16 loses anyway, and no more than half as much again
    limits = {"logits": 1e-4 if "ours, F64" not in result else 3 * result["theirs, F64"],
              "ours, F64": 2 * result.get("theirs, F64", 0), "theirs, F64": 1, "teacher's": 1, "BF16 against F32": 1.5 * result.get("teacher's", 0) + 1e-6}
    wrong = [key for key, value in result.items() if not value <= limits.get(key, 1e-4)]
    if options.greedy and name != "all":
        program = os.path.join(os.path.dirname(__file__), "greedy.py")
        prompts = os.path.join(options.work, "prompts.jsonl")
        done = subprocess.run([sys.executable, program, f"{options.build}/apriel-tool", out,
                               "--tokens", str(options.tokens), "--prompts", prompts])
        if done.returncode:
            wrong.append("greedy")
    return [f"{out}: {key}" for key in wrong]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("work")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(2)
    os.makedirs(options.work, exist_ok=True)
    sys.path.insert(0, os.path.dirname(__file__))
    from greedy import PROMPTS
    with open(os.path.join(options.work, "prompts.jsonl"), "w") as file:
        for prompt in PROMPTS[:10]:
            file.write(json.dumps({"prompt": prompt}) + "\n")
    wrong = []
    for entry in options.models:
        model, kind, *rest = entry.split("=")
        config = json.load(open(os.path.join(model, "config.json")))
        count = config["num_hidden_layers"]
        generator = numpy.random.default_rng(7)
        ids = [int(i) for i in generator.integers(0, config["vocab_size"], ROW)]
        half = ",".join(str(i) for i in sorted(generator.permutation(count)[:count // 2]))
        for name, layers in (("none", "none"), ("one", str(count // 2)), ("half", half),
                             ("all", f"0-{count - 1}")):
            wrong += check(options, model, kind, rest[0] if rest else None, name, layers, ids)
    print("\n".join(wrong) or "all as it should be")
    sys.exit(1 if wrong else 0)


main()
