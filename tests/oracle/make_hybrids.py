#!/usr/bin/env python3
"""Make tiny random hybrids in both checkpoint formats, with golden logits by hybrid.py.

tests/data/models/apriel-h1: Mistral with a window, hidden 48, heads * head_dim 64, blocks t m2 t m2, d_state 8.
tests/data/models/apriel2: Qwen2-like biases (query, key and value; in_proj's too), tied
embeddings, d_state = head_dim, dt_rank given. golden.json is like those of make_models.py.

usage: python tests/oracle/make_hybrids.py [DIRECTORY]
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file

from hybrid import Model

TOKENS, VOCAB = 24, 300
POSITIONS = [0, 1, 3, 5, 8, 15, 23]


class Writer:
    """Draws tensors and keeps them with the type that the formats ask for."""

    def __init__(self, seed):
        self.generator, self.tensors = torch.Generator().manual_seed(seed), {}

    def draw(self, name, shape, scale=None, offset=0.0, dtype=torch.bfloat16):
        noise = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        scale = shape[-1] ** -0.5 if scale is None else scale
        self.tensors[name] = (offset + scale * noise).to(dtype)

    def linear(self, prefix, rows, columns, bias=False):
        self.draw(prefix + ".weight", (rows, columns))
        if bias:
            self.draw(prefix + ".bias", (rows,), 0.4)

    def attention(self, prefix, hidden, heads, groups, size, bias):
        self.linear(prefix + ".q_proj", heads * size, hidden, bias)
        self.linear(prefix + ".k_proj", groups * size, hidden, bias)
        self.linear(prefix + ".v_proj", groups * size, hidden, bias)
        self.linear(prefix + ".o_proj", hidden, heads * size)

    def mamba(self, prefix, hidden, inner, xb, state, rank, bias):
        self.linear(prefix + ".in_proj", 2 * inner + 2 * xb, hidden, bias)
        self.linear(prefix + ".dt_in_proj", rank, hidden, bias)
        self.draw(prefix + ".dt_proj.weight", (inner, rank))
        self.draw(prefix + ".dt_proj.bias", (inner,), 0.5, -1.0)  # half the effective bias
        self.draw(prefix + ".conv1d.weight", (inner, 1, 4))
        self.draw(prefix + ".conv1d.bias", (inner,), 0.3)
        self.draw(prefix + ".A_log", (inner, state), 0.5, 0.5, torch.float32)
        self.draw(prefix + ".D", (inner,), 0.3, 1.0, torch.float32)
        self.linear(prefix + ".out_proj", hidden, inner, bias)

    def rest(self, prefix, hidden, ffn):
        for name in ("input_layernorm", "post_attention_layernorm"):
            self.draw(f"{prefix}.{name}.weight", (hidden,), 0.3, 1.0)
        self.linear(prefix + ".mlp.gate_proj", ffn, hidden)
        self.linear(prefix + ".mlp.up_proj", ffn, hidden)
        self.linear(prefix + ".mlp.down_proj", hidden, ffn)


def apriel_h1():
    hidden, ffn, heads, groups, size, state, rank = 48, 64, 4, 2, 16, 8, 3
    writer, layout = Writer(2001), ["t", "m2", "t", "m2"]
    writer.draw("model.embed_tokens.weight", (VOCAB, hidden), 0.4)
    for i, kind in enumerate(layout):
        prefix = f"model.layers.{i}"
        if kind == "t":
            writer.attention(prefix + ".self_attn", hidden, heads, groups, size, False)
        else:
            writer.mamba(prefix + ".mixer", hidden, heads * size, groups * size, state, rank, False)
        writer.rest(prefix, hidden, ffn)
    writer.draw("model.norm.weight", (hidden,), 0.3, 1.0)
    writer.draw("lm_head.weight", (VOCAB, hidden))
    config = {
        "architectures": ["AprielHybridSSMForCausalLM"], "model_type": "apriel_hybrid_ssm",
        "vocab_size": VOCAB, "hidden_size": hidden, "intermediate_size": ffn,
        "num_hidden_layers": len(layout), "num_attention_heads": heads,
        "num_key_value_heads": groups, "head_dim": size, "hidden_act": "silu",
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 1000.0,
        "sliding_window": 8, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "bos_token_id": 0, "eos_token_id": 1, "hybrid_block_layout": layout,
        "ssm_cfg": {"d_state": state, "d_xb": groups * size, "d_inner": heads * size, "d_conv": 4,
                    "dt_rank": rank, "expand": 1, "bias": False, "conv_bias": True,
                    "dt_proj_bias": True, "repeat_kv_before_conv": True, "dt_min": 0.001,
                    "dt_max": 0.1, "dt_init_floor": 1e-4}}
    return config, writer.tensors


def apriel2():
    hidden, ffn, heads, groups, size, rank = 64, 96, 4, 2, 16, 5
    writer, pattern = Writer(2002), ["attention", "mamba", "mamba"]
    writer.draw("model.embed_tokens.weight", (VOCAB, hidden), 0.4)
    for i, kind in enumerate(pattern):
        prefix = f"model.decoder.blocks.{i}"
        if kind == "attention":
            writer.attention(prefix + ".mixer", hidden, heads, groups, size, True)
        else:
            writer.mamba(prefix + ".mixer", hidden, heads * size, groups * size, size, rank, True)
        writer.rest(prefix, hidden, ffn)
    writer.draw("model.norm.weight", (hidden,), 0.3, 1.0)
    norm = {"type": "rms_norm", "epsilon": 1e-6}
    mlp = {"type": "mlp", "intermediate_size": ffn, "activation": "silu", "gated": True,
           "add_linear_biases": False}
    enabled = {"bias": {"enabled": True}}
    blocks = {
        "attention": {"mixer": {
            "type": "attention", "heads": heads, "head_groups": groups, "head_size": size,
            "rotary": {"type": "mistral_1d", "theta": 10000.0}, "add_linear_biases": False,
            "query_layer": enabled, "key_layer": enabled, "value_layer": enabled,
            "dense_layer": {"bias": {"enabled": False}}}, "mlp": mlp, "normalization": norm},
        "mamba": {"mixer": {
            "type": "mamba", "d_state": size, "state_size": size, "d_inner": heads * size,
            "d_xb": groups * size, "d_conv": 4, "dt_rank": rank, "add_linear_biases": True,
            "conv_bias": True, "dt_proj_bias": True, "repeat_kv_before_conv": True},
            "mlp": mlp, "normalization": norm}}
    config = {
        "architectures": ["Apriel2ForCausalLM"], "model_type": "apriel2_text", "vocab_size": VOCAB,
        "hidden_size": hidden, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "bos_token_id": 0, "eos_token_id": 1, "embeddings": {"max_position_embeddings": 256},
        "head": {"normalization": norm},
        "decoder": {"type": "pattern", "num_blocks": len(pattern), "pattern": pattern,
                    "blocks": blocks}}
    return config, writer.tensors


def main():
    torch.set_num_threads(1)
    here = os.path.dirname(os.path.abspath(__file__))
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "data", "models")
    for name, make in (("apriel-h1", apriel_h1), ("apriel2", apriel2)):
        directory = os.path.join(root, name)
        os.makedirs(directory, exist_ok=True)
        config, tensors = make()
        with open(os.path.join(directory, "config.json"), "w") as file:
            json.dump(config, file, indent=2)
            file.write("\n")
        path = os.path.join(directory, "model.safetensors")
        save_file(tensors, path, {"format": "pt"})
        os.chmod(path, 0o644)
        ids = torch.randint(0, VOCAB, (TOKENS,), generator=torch.Generator().manual_seed(2003))
        with torch.inference_mode():
            model = Model(directory)
            logits = model.logits(model.hidden(ids))
        log_probs = logits.log_softmax(-1)
        golden = {
            "model": name, "made_with": "tests/oracle/hybrid.py, float64", "ids": ids.tolist(),
            "next_token_log_probs": [round(log_probs[t, ids[t + 1]].item(), 9)
                                     for t in range(TOKENS - 1)],
            "argmax": logits.argmax(-1).tolist(), "positions": POSITIONS,
            "logits": [[round(value, 8) for value in logits[t].tolist()] for t in POSITIONS]}
        with open(os.path.join(directory, "golden.json"), "w") as file:
            file.write(json.dumps(golden).replace(', "', ',\n"').replace("], [", "],\n[") + "\n")
        print(f"{name}: logits std {logits.std().item():.3f}")


main()
