#!/usr/bin/env python3
"""Alignment of single layers of the demo model in PyTorch, for tests/test_alignment.c:
`align_torch.py GOLDEN_DIRECTORY DEMO_MODEL >GOLDEN_DIRECTORY/demo-llama-2.6m.align.json`.

A mixer is trained on the model's own states, from the initial parameters and on the batches of the
golden probes (demo-llama-2.6m.mmr*.safetensors), to reproduce the output a of the layer's attention
and that of its block B: half the relative squared error of each, sums over all tokens of a step,
AdamW .9, .95 without decay, 5 steps of warm-up and a cosine to a tenth over 100 steps at 3e-3. In
float32, as the golden probes. Written are the losses of
all steps before their updates, the norms of the gradients of the first, and both relative errors on
the held-out sequences before and after. A development script; CI does not run it.
"""
import json
import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mmr_torch import Mixer

LAYERS, STEPS, RATE, WARMUP, FLOOR = (0, 5, 11), 100, 3e-3, 5, 0.1


class Mamba2(torch.nn.Module):
    """Mamba-2 with a group for each head, as GraniteMoeHybrid computes it, token by token."""

    def __init__(self, parameters, eps=1e-5):
        super().__init__()
        self.p = torch.nn.ParameterDict({name.replace(".", "/"): torch.nn.Parameter(value.clone())
                                         for name, value in parameters.items()})
        self.eps = eps

    def forward(self, u):
        p = {name.replace("/", "."): value for name, value in self.p.items()}
        heads, inner = len(p["A_log"]), len(p["norm.weight"])
        width, state = inner // heads, (len(p["conv1d.bias"]) - inner) // 2 // heads
        z, x, dt = F.linear(u, p["in_proj.weight"], p["in_proj.bias"]).split(
            [inner, inner + 2 * heads * state, heads], -1)
        taps = p["conv1d.weight"].shape[-1]
        x = F.pad(x, (0, 0, taps - 1, 0))
        x = F.silu(sum(x[:, j:x.shape[1] - taps + 1 + j] * p["conv1d.weight"][:, 0, j] for j in range(taps))
                   + p["conv1d.bias"])
        x, b, c = x.split([inner, heads * state, heads * state], -1)
        x, b, c = (v.unflatten(-1, (heads, -1)) for v in (x, b, c))
        dt = F.softplus(dt + p["dt_bias"])
        decay = torch.exp(dt * -torch.exp(p["A_log"]))
        h, rows = u.new_zeros(len(u), heads, width, state), []
        for t in range(u.shape[1]):
            h = decay[:, t, :, None, None] * h + (dt[:, t, :, None] * x[:, t])[..., None] * b[:, t, :, None, :]
            rows.append((h @ c[:, t, :, :, None])[..., 0] + p["D"][:, None] * x[:, t])
        v = torch.stack(rows, 1) * F.silu(z).unflatten(-1, (heads, -1))
        v = v * torch.rsqrt(v.square().mean(-1, keepdim=True) + self.eps)
        return F.linear(v.flatten(2) * p["norm.weight"], p["out_proj.weight"], p["out_proj.bias"])


class Layer:
    """What the mixer of a layer is to reproduce, of rows of tokens."""

    def __init__(self, model, index):
        self.model, self.index, self.layer = model, index, model.model.layers[index]

    def states(self, tokens):
        """The layer's input h and its attention's output a."""
        found = {}
        hooks = [self.layer.register_forward_pre_hook(lambda _, args, kwargs: found.update(
                     h=args[0] if args else kwargs["hidden_states"]), with_kwargs=True),
                 self.layer.self_attn.register_forward_hook(lambda _, args, out: found.update(a=out[0]))]
        layers = self.model.model.layers
        self.model.model.layers = layers[:self.index + 1]
        with torch.no_grad():
            self.model.model(tokens)
        self.model.model.layers = layers
        for hook in hooks:
            hook.remove()
        return found["h"], found["a"]

    def block(self, h, x):
        middle = h + x
        return middle + self.layer.mlp(self.layer.post_attention_layernorm(middle))

    def errors(self, mixer, h, a):
        m = mixer(self.layer.input_layernorm(h))
        with torch.no_grad():
            target = self.block(h, a)
        return ((m - a).square().sum() / a.square().sum(),
                (self.block(h, m) - target).square().sum() / (target - h).square().sum())


def rate(step):
    if step < WARMUP:
        return RATE * (step + 1) / WARMUP
    return RATE * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))))


def align(layer, mixer, batches, heldout):
    optimizer = torch.optim.AdamW(mixer.parameters(), lr=0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0)
    with torch.no_grad():
        before = [float(error) for error in layer.errors(mixer, *layer.states(heldout))]
    losses, norms = [], {}
    for step, tokens in enumerate(batches):
        loss = sum(layer.errors(mixer, *layer.states(tokens))) / 2
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            norms = {name.split(".", 1)[1].replace("/", "."): float(value.grad.norm())
                     for name, value in mixer.named_parameters()}
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        after = [float(error) for error in layer.errors(mixer, *layer.states(heldout))]
    return {"losses": losses, "gradient_norms": norms, "before": before, "after": after}


def main():
    golden, directory = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    model.requires_grad_(False)
    with open(f"{golden}/demo-llama-2.6m.json") as file:
        heldout = torch.tensor(json.load(file)["tokens"])
    runs = []
    for kind, name in ("m2", "mmr"), ("mamba2", "mmr-mamba2"):
        file = load_file(f"{golden}/demo-llama-2.6m.{name}.safetensors")
        for index in LAYERS:
            start = f"layer.{index}."
            parameters = {key[len(start):]: value.float() for key, value in file.items()
                          if key.startswith(start) and ".check." not in key}
            mixer = Mixer(parameters, (len(parameters["in_proj.weight"]) - 2 * len(parameters["D"])) // 2) \
                if kind == "m2" else Mamba2(parameters)
            if kind == "mamba2":
                u, y = file[f"{start}check.u"].float(), file[f"{start}check.y"].float()
                assert (mixer(u) - y).abs().max() < 1e-4 * y.abs().max(), "another mixer"
            run = align(Layer(model, index), mixer, file["tokens"].long(), heldout)
            runs.append({"kind": kind, "layer": index, **run})
            print(kind, index, run["losses"][0], run["losses"][-1], run["before"], run["after"], file=sys.stderr)
    print(json.dumps({"rate": RATE, "warmup": WARMUP, "floor": FLOOR, "beta1": 0.9, "beta2": 0.95,
                      "epsilon": 1e-8, "runs": runs}, indent=1))


main()
