#!/usr/bin/env python3
"""What transformers makes of files as other programs write them: the values of tests/cli/foreign.sh.

usage: make_foreign.py MODELS    (tests/data/models; prints one "NAME ce" a line)

Each case is one of MODELS/foreign-* with some keys of config.json changed and tensors renamed.
MODELS/foreign-rows.jsonl has the rows. With --write the Mistral with windows per layer is made anew.
"""
import json
import os
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM


def rows(models):
    with open(os.path.join(models, "foreign-rows.jsonl")) as file:
        return [json.loads(line)["ids"] for line in file]


def ce(directory, ids):
    model, info = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"], info
    total = count = 0
    with torch.no_grad():
        for row in ids:
            tokens = torch.tensor([row])
            logits = model(tokens).logits.double().log_softmax(-1)
            total -= logits[0, :-1].gather(-1, tokens[0, 1:, None]).sum().item()
            count += len(row) - 1
    return total / count


def variant(source, keys, rename=lambda name: name):
    """A copy with other keys (`...` takes one away) and names."""
    directory = tempfile.mkdtemp()
    with open(os.path.join(source, "config.json")) as file:
        config = json.load(file)
    config.update(keys)
    config = {key: value for key, value in config.items() if value is not ...}
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file)
    tensors = load_file(os.path.join(source, "model.safetensors"))
    save_file({rename(name): value for name, value in tensors.items()},
              os.path.join(directory, "model.safetensors"), {"format": "pt"})
    return directory


def write_mistral(directory):
    torch.manual_seed(11)
    shape = dict(hidden_size=16, intermediate_size=16, vocab_size=32, num_hidden_layers=3,
                 num_attention_heads=4, num_key_value_heads=2, head_dim=4, sliding_window=5,
                 max_position_embeddings=64, initializer_range=0.5, tie_word_embeddings=True,
                 layer_types=["sliding_attention", "full_attention", "sliding_attention"])
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("ministral", **shape))
    model.to(torch.float32).save_pretrained(directory)
    os.remove(os.path.join(directory, "generation_config.json"))
    path = os.path.join(directory, "config.json")
    with open(path) as file:
        config = json.load(file)
    config.update(architectures=["MistralForCausalLM"], model_type="mistral")
    with open(path, "w") as file:
        json.dump(config, file, indent=1)


def main():
    models = sys.argv[1]
    where = {name: os.path.join(models, "foreign-" + name) for name in ("llama", "qwen2", "mistral")}
    if "--write" in sys.argv:
        shutil.rmtree(where["mistral"], ignore_errors=True)
        write_mistral(where["mistral"])
    ids = rows(models)
    full, sliding = "full_attention", "sliding_attention"
    cases = [
        ("llama", "llama", {}, None),
        ("llama without model.", "llama", {"architectures": ["LlamaModel"]},
         lambda name: name.removeprefix("model.")),
        ("llama beta_fast 0", "llama", {"rope_parameters": {
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 0,
            "original_max_position_embeddings": 16}}, None),
        ("llama layer_types", "llama", {"layer_types": [sliding, sliding], "sliding_window": 3}, None),
        ("qwen2", "qwen2", {}, None),
        ("qwen2 absent", "qwen2", {"num_key_value_heads": 4}, None),
        ("qwen2 windows", "qwen2", {"layer_types": [sliding, full], "sliding_window": 4,
                                    "use_sliding_window": True}, None),
        ("mistral", "mistral", {}, None),
        ("mistral other", "mistral", {"layer_types": [full, sliding, full]}, None),
        ("mistral full", "mistral", {"layer_types": [full, full, full]}, None),
        ("mistral default", "mistral", {"layer_types": [full, sliding, full], "sliding_window": ...}, None),
        ("mistral without", "mistral", {"layer_types": ...}, None),
    ]
    for name, source, keys, rename in cases:
        directory = variant(where[source], keys, rename or (lambda name: name))
        try:
            print(f"{ce(directory, ids):.6f}  {name}")
        except Exception as error:  # what transformers refuses
            print(f"refused   {name}: {type(error).__name__}: {str(error).splitlines()[0][:90]}")
        shutil.rmtree(directory)


main()
