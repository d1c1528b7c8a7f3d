#!/usr/bin/env python3
"""Rope frequencies of transformers in float64, for tests/test_config.c.

transformers computes them in float32; here torch.float and torch.float32 are float64 while its own
functions run, so that the formulas can be compared to 1e-12.

usage: make_rope.py > tests/data/rope.json
"""
import json
import math
import sys

import torch
from transformers import LlamaConfig, Qwen2Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

BASE = {"hidden_size": 256, "intermediate_size": 64, "vocab_size": 100, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu"}
CASES = [
    ("LlamaForCausalLM", {"rope_theta": 10000.0}),
    ("LlamaForCausalLM", {"rope_theta": 1e6, "head_dim": 128}),
    ("LlamaForCausalLM", {"rope_theta": 10000.0,
                          "rope_scaling": {"type": "linear", "factor": 2.5}}),
    ("LlamaForCausalLM", {"rope_theta": 500000.0, "head_dim": 128, "max_position_embeddings": 131072,
                          "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
                                           "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                           "original_max_position_embeddings": 8192}}),
    ("LlamaForCausalLM", {"head_dim": 64, "max_position_embeddings": 131072,
                          "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0,
                                              "factor": 32.0, "low_freq_factor": 1.0,
                                              "high_freq_factor": 4.0,
                                              "original_max_position_embeddings": 8192}}),
    ("Qwen2ForCausalLM", {"rope_theta": 1e6, "max_position_embeddings": 32768,
                          "rope_scaling": {"type": "yarn", "factor": 4.0,
                                           "original_max_position_embeddings": 32768}}),
    ("Qwen2ForCausalLM", {"max_position_embeddings": 40960,
                          "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 3.0,
                                              "original_max_position_embeddings": 8192,
                                              "beta_fast": 16.0, "beta_slow": 2.0,
                                              "attention_factor": 1.25}}),
    ("Qwen2ForCausalLM", {"max_position_embeddings": 40960,
                          "rope_parameters": {"rope_type": "yarn", "rope_theta": 50000.0,
                                              "factor": 16.0, "mscale": 0.7, "mscale_all_dim": 1.1,
                                              "original_max_position_embeddings": 4096,
                                              "truncate": False}}),
]
CLASSES = {"LlamaForCausalLM": LlamaConfig, "Qwen2ForCausalLM": Qwen2Config}


def frequencies(config):
    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        theta = config.rope_parameters["rope_theta"]
        return [theta ** (-2 * i / width) for i in range(width // 2)], 1.0
    narrow = torch.float, torch.float32
    torch.float = torch.float32 = torch.float64
    try:
        inv_freq, factor = ROPE_INIT_FUNCTIONS[kind](config, device="cpu")
    finally:
        torch.float, torch.float32 = narrow
    assert inv_freq.dtype == torch.float64
    return inv_freq.tolist(), float(factor)


def main():
    out = []
    for architecture, settings in CASES:
        settings = {**BASE, **json.loads(json.dumps(settings))}
        text = {"architectures": [architecture], **json.loads(json.dumps(settings))}
        inv_freq, factor = frequencies(CLASSES[architecture](**settings))
        assert all(math.isfinite(x) for x in inv_freq)
        out.append({"config": text, "inv_freq": inv_freq, "attention_factor": factor})
    json.dump(out, sys.stdout, indent=1)
    print()


main()
