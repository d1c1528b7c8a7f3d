"""Greedy text of `apriel-tool generate` against transformers (development only).

    python3 tests/oracle/greedy.py PROGRAM MODEL [--tokens 64] [--prompts FILE.jsonl] [--golden OUT.json]

Both continue the same prompts in float32. Where the ids part, transformers' two largest logits there
must be within 1e-3 of each other, else the script fails; such places are counted and the rest of
that text is not compared. With --golden the ids go to a file that tests/test_generate.c reads.
"""
import argparse
import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "The capital of France is", "Once upon a time, in a small village,", "def fibonacci(n):\n",
    "The three laws of thermodynamics are", "In 1969, the first human", "Water boils at",
    "Photosynthesis is the process by which", "To bake bread you need", "The quick brown fox",
    "A prime number is", "Question: What is 12 times 7?\nAnswer:", "Dear Sir or Madam,\n\n",
    "Die Hauptstadt von Deutschland ist", "1, 1, 2, 3, 5, 8,", "The mitochondria",
    "Shakespeare wrote", "# Introduction\n\nMachine learning", "import numpy as np\n",
    "My favourite season is", "The distance between the Earth and the Moon",
]


def read_prompts(path):
    if not path:
        return PROMPTS
    return [json.loads(line)["prompt"] for line in open(path) if line.strip()]


def ours(program, model, prompts, tokens):
    command = [program, "generate", model, "--json", "--max-tokens", str(tokens), "--batch", "5",
               "--ignore-end", "--device", "cpu"]
    for prompt in prompts:
        command += ["--prompt", prompt]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)["outputs"]


def theirs(model, ids, tokens):
    """Greedy ids and, for each, the gap between the two largest logits."""
    out, gaps, past = [], [], None
    feed = torch.tensor([ids])
    with torch.no_grad():
        for _ in range(tokens):
            result = model(feed, past_key_values=past, use_cache=True)
            past = result.past_key_values
            top = torch.topk(result.logits[0, -1].double(), 2)
            out.append(int(top.indices[0]))
            gaps.append(float(top.values[0] - top.values[1]))
            feed = torch.tensor([[out[-1]]])
    return out, gaps


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompts")
    parser.add_argument("--golden")
    options = parser.parse_args()
    prompts = read_prompts(options.prompts)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, torch_dtype=torch.float32).eval()
    outputs = ours(options.program, options.model, prompts, options.tokens)
    equal = ties = wrong = 0
    golden = []
    for prompt, output in zip(prompts, outputs):
        ids = tokenizer(prompt)["input_ids"]
        expected, gaps = theirs(model, ids, options.tokens)
        golden.append({"prompt": prompt, "prompt_ids": ids, "ids": expected, "gap": min(gaps)})
        if len(ids) != output["prompt_tokens"]:
            print(f"prompt {prompt!r}: {output['prompt_tokens']} ids, expected {len(ids)}")
            wrong += 1
        elif output["ids"] == expected:
            equal += 1
        else:
            at = next(i for i, pair in enumerate(zip(output["ids"], expected)) if pair[0] != pair[1])
            print(f"prompt {prompt!r}: token {at}: {output['ids'][at]}, expected {expected[at]}, "
                  f"gap {gaps[at]:.2e}")
            ties += gaps[at] <= 1e-3
            wrong += gaps[at] > 1e-3
    print(f"{len(prompts)} prompts of {options.tokens} tokens: {equal} equal, {ties} part at a gap "
          f"of at most 1e-3, {wrong} wrong")
    if options.golden:
        with open(options.golden, "w") as file:
            json.dump(golden, file)
            file.write("\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
