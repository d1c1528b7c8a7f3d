#!/usr/bin/env python3
"""Check a freshly converted hybrid tensor by tensor against the model it came from.

Everything that is copied must be equal bit for bit and of the source's type; what the MIL
initialisation takes from attention must lie where recipes/initialisation.md puts it; what it draws must
have the right bounds and moments and differ between layers. Reads apriel-h1 and apriel2.

usage: check_convert.py SOURCE HYBRID [--align paper|gqa] [--conv-init random|identity]
                        [--dt-bias twice|once] [--gate random|open]
                        [--skip one|zero] [--c-scale one|head] [--qkv-bias keep|drop]
"""
import argparse
import json
import math
import os

import torch
from safetensors import safe_open


def read(directory):
    with open(os.path.join(directory, "config.json")) as file:
        config = json.load(file)
    tensors = {}
    for name in sorted(os.listdir(directory)):
        if name.endswith(".safetensors"):
            with safe_open(os.path.join(directory, name), "pt") as file:
                for key in file.keys():
                    assert key not in tensors, key
                    tensors[key] = file.get_tensor(key)
    return config, tensors


def same(tensor, expected, what):
    assert tensor.dtype == expected.dtype, f"{what}: {tensor.dtype}, not {expected.dtype}"
    assert tensor.shape == expected.shape, f"{what}: {tensor.shape}, not {expected.shape}"
    assert torch.equal(tensor, expected), f"{what}: {(tensor != expected).sum().item()} values differ"


def uniform(tensor, bound, what):
    values = tensor.double().flatten()
    assert values.abs().max() <= bound * (1 + 2 ** -8), f"{what}: beyond {bound}"
    error = 5 * bound / math.sqrt(3 * len(values))  # five standard errors of the mean
    assert values.mean().abs() < error, f"{what}: mean {values.mean().item()}"
    deviation = values.std().item() / (bound / math.sqrt(3))
    assert abs(deviation - 1) < 5 / math.sqrt(len(values)) + 0.01, f"{what}: deviation {deviation}"


def query_order(heads, groups, head_dim, state, align):
    """Row of W_Q that stands at each C row of in_proj."""
    blocks, share = head_dim // state, heads // groups
    order = list(range(heads * blocks))
    if align == "gqa":
        order = [(kv * share + r) * blocks + block
                 for kv in range(groups) for block in range(blocks) for r in range(share)]
    return (torch.tensor(order)[:, None] * state + torch.arange(state)).flatten()


def check_mixer(config, source, hybrid, old, new, ssm, options):
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    groups = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or hidden // heads
    inner, xb, state = heads * head_dim, groups * head_dim, ssm["d_state"]
    rank = ssm["dt_rank"] if ssm.get("dt_rank", "auto") != "auto" else math.ceil(hidden / 16)
    assert (ssm["d_inner"], ssm["d_xb"], ssm["d_conv"]) == (inner, xb, 4), ssm
    order = query_order(heads, groups, head_dim, state, options.align)
    q, k, v, o = (source[f"{old}.{name}_proj.weight"] for name in "qkvo")
    take = {name: hybrid.pop(f"{new}.{name}") for name in (
        "in_proj.weight", "dt_in_proj.weight", "dt_proj.weight", "dt_proj.bias", "conv1d.weight",
        "conv1d.bias", "A_log", "D", "out_proj.weight")}
    scale = head_dim ** -0.5 if options.c_scale == "head" else 1
    c = (q[order].float() * torch.tensor(scale)).to(q.dtype)
    same(take["in_proj.weight"][inner:], torch.cat([v, k, c]), f"{new}.in_proj [x, B, C]")
    same(take["out_proj.weight"], o[:, order], f"{new}.out_proj")
    if options.gate == "open":
        assert not take["in_proj.weight"][:inner].any(), f"{new}.in_proj z"
    else:
        uniform(take["in_proj.weight"][:inner], hidden ** -0.5, f"{new}.in_proj z")
    uniform(take["dt_in_proj.weight"], hidden ** -0.5, f"{new}.dt_in_proj")
    uniform(take["dt_proj.weight"], rank ** -0.5, f"{new}.dt_proj.weight")
    a_log = torch.log(torch.arange(1, state + 1).double()).expand(inner, state)
    assert take["A_log"].dtype == take["D"].dtype == torch.float32, f"{new}: A_log and D must be F32"
    assert (take["A_log"].double() - a_log).abs().max() < 1e-6, f"{new}.A_log"
    same(take["D"], torch.full((inner,), float(options.skip == "one")), f"{new}.D")
    conv = take["conv1d.weight"]
    assert conv.shape == (inner, 1, 4) and conv.dtype == q.dtype, f"{new}.conv1d"
    if options.conv_init == "identity":
        same(conv, torch.tensor([0, 0, 0, 1], dtype=q.dtype).expand(inner, 1, 4), f"{new}.conv1d")
        same(take["conv1d.bias"], torch.zeros(inner, dtype=q.dtype), f"{new}.conv1d.bias")
    else:
        uniform(conv, 0.5, f"{new}.conv1d")
        uniform(take["conv1d.bias"], 0.5, f"{new}.conv1d.bias")
    # Stored is half the effective bias: twice stores the draw, once half of it.
    draw = take["dt_proj.bias"].double() * (2 if options.dt_bias == "once" else 1)
    step = torch.log1p(draw.exp())
    assert 0.95e-3 < step.min() and step.max() < 1.05e-1, f"{new}.dt_proj.bias: {step.min()} .. {step.max()}"
    uniform((step.log() - math.log(1e-2)) / 1.03, math.log(10), f"log of {new}'s steps")
    names = ["in_proj.bias", "dt_in_proj.bias", "out_proj.bias"]
    keep = f"{old}.q_proj.bias" in source and options.qkv_bias == "keep"
    if keep or options.gate == "open":
        bias = {name: hybrid.pop(f"{new}.{name}") for name in names}
        zero = {name: torch.zeros(rows, dtype=q.dtype) for name, rows in
                (("q", inner), ("k", xb), ("v", xb), ("o", hidden))}
        bq, bk, bv, bo = (source.get(f"{old}.{name}_proj.bias", zero[name]) if keep else zero[name]
                          for name in "qkvo")
        gate = torch.full((inner,), 1.2784645 if options.gate == "open" else 0.0).to(q.dtype)
        assert abs(torch.nn.functional.silu(gate.float()).max() - 1) < 4e-3 or not gate.any()
        same(bias[names[0]], torch.cat([gate, bv, bk, (bq[order].float() * torch.tensor(scale)).to(q.dtype)]), f"{new}.in_proj.bias")
        same(bias[names[1]], q.new_zeros(rank), f"{new}.dt_in_proj.bias")
        same(bias[names[2]], bo, f"{new}.out_proj.bias")
    else:
        assert not any(f"{new}.{name}" in hybrid for name in names), f"{new}: unexpected bias"
    return take


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("hybrid")
    parser.add_argument("--align", choices=("paper", "gqa"), default="gqa")
    parser.add_argument("--conv-init", choices=("random", "identity"), default="identity")
    parser.add_argument("--dt-bias", choices=("twice", "once"), default="once")
    parser.add_argument("--gate", choices=("random", "open"), default="open")
    parser.add_argument("--skip", choices=("one", "zero"), default="zero")
    parser.add_argument("--c-scale", choices=("one", "head"), default="head")
    parser.add_argument("--qkv-bias", choices=("keep", "drop"), default="keep")
    options = parser.parse_args()
    config, source = read(options.source)
    made, hybrid = read(options.hybrid)
    apriel2 = made["architectures"] == ["Apriel2ForCausalLM"]
    layers = config["num_hidden_layers"]
    if apriel2:
        decoder = made["decoder"]
        assert decoder["num_blocks"] == layers
        blocks = [decoder["blocks"][decoder["pattern"][i % len(decoder["pattern"])]]["mixer"]
                  for i in range(layers)]
        mamba = {i: block for i, block in enumerate(blocks) if block["type"] == "mamba"}
    else:
        assert made["architectures"] == ["AprielHybridSSMForCausalLM"], made["architectures"]
        layout = made["hybrid_block_layout"]
        assert len(layout) == layers
        mamba = {i: made["ssm_cfg"] for i, kind in enumerate(layout) if kind == "m2"}
    drawn = []
    for i in range(layers):
        old = f"model.layers.{i}"
        new = f"model.decoder.blocks.{i}" if apriel2 else old
        if i in mamba:
            drawn.append(check_mixer(config, source, hybrid, old + ".self_attn", new + ".mixer",
                                     mamba[i], options))
        for name in [key for key in source if key.startswith(old + ".")]:
            rest = name[len(old):]
            if rest.startswith(".self_attn.") and i in mamba:
                continue
            if apriel2:
                rest = rest.replace(".self_attn.", ".mixer.")
            same(hybrid.pop(new + rest), source[name], new + rest)
    for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"):
        if name in source or name in hybrid:
            same(hybrid.pop(name), source[name], name)
    assert not hybrid, f"left over: {sorted(hybrid)}"
    random = ["dt_in_proj.weight", "dt_proj.weight", "dt_proj.bias"]
    for name in random + (["in_proj.weight"] if options.gate == "random" else []):
        rows = slice(0, drawn[0]["out_proj.weight"].shape[1]) if drawn else slice(0)
        for i in range(len(drawn)):
            for j in range(i):
                assert not torch.equal(drawn[i][name][rows], drawn[j][name][rows]), f"{name}: same draw"
    print(f"{options.hybrid}: {len(mamba)} of {layers} layers are mamba, all tensors as they should be")


main()
