#!/usr/bin/env python3
"""The same work in PyTorch, at Apriel-15B's shape with random weights, for side-by-side figures.

  baseline.py loo [--layers N] [--rows 4] [--length 4096] [--compile] [--loop]
      Leave-one-out over all layers. By default trunk and branches share the prefix, as apriel-tool
      does: what a practised user would write by hand. --loop runs the whole model once per ablation
      instead, as a script around a library does (time scaled from every tenth layer).
  baseline.py mmr [--layer 0,25,49] [--length 4096] [--steps 10]
      Steps of a distillation probe, from the cached input of the layer on, against cached teacher
      states. The Mamba mixer goes without its scan, for which PyTorch has no fast operator: a lower
      bound for any script.

BF16 weights and residual stream, F32 logits; kl, rkl, ce and top1 (loo), reverse KL (mmr)."""
import argparse
import json
import time

import torch
import torch.nn.functional as F

D, HEADS, GROUPS, E, FFN, VOCABULARY, THETA, EPS = 5120, 32, 8, 128, 14336, 131072, 1e6, 1e-5
QUERY, KEY = HEADS * E, GROUPS * E
CHUNK = 2048  # rows of logits at a time


def matrix(rows, columns):
    return torch.randn(rows, columns, device="cuda", dtype=torch.bfloat16).mul_(0.02)


class Layer:
    def __init__(self):
        self.norm1 = torch.ones(D, device="cuda", dtype=torch.bfloat16)
        self.norm2 = torch.ones(D, device="cuda", dtype=torch.bfloat16)
        self.qkv, self.out = matrix(QUERY + 2 * KEY, D), matrix(D, QUERY)
        self.gate_up, self.down = matrix(2 * FFN, D), matrix(D, FFN)


def rotate(x, cos, sin):
    left, right = x.chunk(2, -1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), -1)


def attention(layer, h, cos, sin):
    rows, length, _ = h.shape
    qkv = F.linear(F.rms_norm(h, (D,), layer.norm1, EPS), layer.qkv)
    q, k, v = qkv.split((QUERY, KEY, KEY), -1)
    q = rotate(q.view(rows, length, HEADS, E).transpose(1, 2), cos, sin)
    k = rotate(k.view(rows, length, GROUPS, E).transpose(1, 2), cos, sin)
    v = v.view(rows, length, GROUPS, E).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return h + F.linear(mixed.transpose(1, 2).reshape(rows, length, QUERY), layer.out)


def mlp(layer, h):
    gate, up = F.linear(F.rms_norm(h, (D,), layer.norm2, EPS), layer.gate_up).chunk(2, -1)
    return h + F.linear(F.silu(gate) * up, layer.down)


def rope(length):
    angle = torch.outer(torch.arange(length, device="cuda", dtype=torch.float32),
                        THETA ** (-torch.arange(0, E, 2, device="cuda").float() / E))
    return angle.cos().bfloat16(), angle.sin().bfloat16()


def metrics(norm, head, trunk, branches, targets):
    """[branches, 4] sums of kl, rkl, ce, top1; all [tokens, D]."""
    sums = torch.zeros(len(branches), 4, device="cuda", dtype=torch.float64)
    for at in range(0, len(trunk), CHUNK):
        part = slice(at, at + CHUNK)
        t = torch.log_softmax(F.linear(F.rms_norm(trunk[part], (D,), norm, EPS), head).float(), -1)
        first = t.argmax(-1)
        for i, branch in enumerate(branches):
            s = torch.log_softmax(F.linear(F.rms_norm(branch[part], (D,), norm, EPS), head).float(), -1)
            difference = t - s
            sums[i, 2] -= s.gather(1, targets[part, None]).sum(dtype=torch.float64)
            sums[i, 3] += (s.argmax(-1) == first).sum()
            sums[i, 0] += (t.exp() * difference).sum(dtype=torch.float64)
            sums[i, 1] -= (s.exp() * difference).sum(dtype=torch.float64)
    return sums


def timed(work):
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


@torch.inference_mode()
def loo(options):
    layers = [Layer() for _ in range(options.layers)]
    embedding, head = matrix(VOCABULARY, D), matrix(VOCABULARY, D)
    norm = torch.ones(D, device="cuda", dtype=torch.bfloat16)
    cos, sin = rope(options.length)
    ids = torch.randint(VOCABULARY, (options.rows, options.length), device="cuda")
    targets = ids.flatten().roll(-1)
    mix, feed = attention, mlp
    if options.compile:
        mix, feed = torch.compile(attention), torch.compile(mlp)

    def sweep(count):
        states = [embedding[ids]]
        for layer in layers[:count]:
            leaving = states[0]
            for i, h in enumerate(states):
                states[i] = feed(layer, mix(layer, h, cos, sin))
            states.append(feed(layer, leaving))
        flat = [h.flatten(0, 1) for h in states]
        return metrics(norm, head, flat[0], flat[1:], targets)

    def loop(ablated):
        def run(without):
            h = embedding[ids]
            for index, layer in enumerate(layers):
                h = feed(layer, h if index == without else mix(layer, h, cos, sin))
            return h.flatten(0, 1)
        trunk = run(-1)
        for index in ablated:
            metrics(norm, head, trunk, [run(index)], targets)

    if options.loop:
        some = list(range(0, options.layers, 10))
        loop(some[:1])
        first = timed(lambda: loop([]))
        return {"seconds": first + (timed(lambda: loop(some)) - first) / len(some) * options.layers}
    sweep(2)  # warm-up and compilation
    return {"seconds": timed(lambda: sweep(options.layers))}


class HeadLoss(torch.autograd.Function):
    """Mean reverse KL of the student's last states against the teacher's, gradient made in chunks."""

    @staticmethod
    def forward(ctx, student, teacher, norm, head):
        gradient, total = torch.empty_like(student), 0.0
        for at in range(0, len(student), CHUNK):
            part = slice(at, at + CHUNK)
            t = torch.log_softmax(F.linear(F.rms_norm(teacher[part], (D,), norm, EPS), head).float(), -1)
            with torch.enable_grad():
                h = student[part].detach().requires_grad_()
                s = torch.log_softmax(F.linear(F.rms_norm(h, (D,), norm, EPS), head).float(), -1)
                loss = (s.exp() * (s - t)).sum() / len(student)
            gradient[part], = torch.autograd.grad(loss, h)
            total = total + loss.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, upstream):
        return ctx.saved_tensors[0] * upstream, None, None, None


def mmr(options):
    rank, inner, source = D // 16, QUERY, KEY
    layers = [Layer() for _ in range(options.layers)]
    head, norm = matrix(VOCABULARY, D), torch.ones(D, device="cuda", dtype=torch.bfloat16)
    cos, sin = rope(options.length)
    h0 = torch.randn(1, options.length, D, device="cuda").bfloat16()
    teacher = torch.randn(options.length, D, device="cuda").bfloat16()
    weights = [matrix(2 * inner + 2 * source, D), matrix(rank, D), matrix(inner, rank),
               matrix(D, inner), matrix(inner, 4)]
    for weight in weights:
        weight.requires_grad_()
    optimizer = torch.optim.AdamW(weights, lr=1e-3, fused=True)

    def mixer(layer, h):
        u = F.rms_norm(h, (D,), layer.norm1, EPS)
        z, x, b, c = F.linear(u, weights[0]).split((inner, source, source, inner), -1)
        dt = F.softplus(F.linear(F.linear(u, weights[1]), weights[2]))
        x = x.repeat_interleave(inner // source, -1).transpose(1, 2)
        x = F.silu(F.conv1d(F.pad(x, (3, 0)), weights[4][:, None], groups=inner)).transpose(1, 2)
        y = x * dt + c * b.repeat_interleave(inner // source, -1)  # in the scan's place
        return h + F.linear(y * F.silu(z), weights[3])

    results = {}
    for first in options.layer:
        def step():
            h = mlp(layers[first], mixer(layers[first], h0))
            for layer in layers[first + 1:]:
                h = mlp(layer, attention(layer, h, cos, sin))
            HeadLoss.apply(h[0], teacher, norm, head).backward()
            optimizer.step()
            optimizer.zero_grad()
        timed(step), timed(step)
        results[first] = timed(lambda: [step() for _ in range(options.steps)]) / options.steps
    return {"seconds_a_step": results, "mean": sum(results.values()) / len(results)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("loo", "mmr"))
    parser.add_argument("--layers", type=int, default=50)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--layer", default="0,25,49")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--loop", action="store_true")
    options = parser.parse_args()
    options.layer = [int(layer) for layer in options.layer.split(",")]
    torch.manual_seed(0)
    result = {"what": options.what, "card": torch.cuda.get_device_name(), "torch": torch.__version__,
              "compiled": options.compile, "loop": options.loop,
              **(loo(options) if options.what == "loo" else mmr(options)),
              "peak_GB": torch.cuda.max_memory_allocated() / 1e9}
    print(json.dumps(result), flush=True)


main()
