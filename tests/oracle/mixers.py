"""Values and gradients of mixers that are attention, for tests/test_mixers.c.

usage: python3 mixers.py KIND [WINDOW] > tests/data/golden/KIND_mixer.safetensors

An attention mixer by itself in float64, with biases, query and key norms and grouped heads, as
transformers' Qwen3 computes it (plain formulas here): parameters as checkpoints name them, an input,
the output, and gradients by torch's autograd. A development script; CI does not run it.
"""
import sys

import torch
from safetensors.torch import save

B, T, D, H, G, E = 2, 13, 24, 4, 2, 8
EPS, THETA = 1e-5, 10000.0
kind = sys.argv[1]
window = int(sys.argv[2]) if len(sys.argv) > 2 else 0

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)
shapes = {
    "q_proj.weight": (H * E, D), "q_proj.bias": (H * E,),
    "k_proj.weight": (G * E, D), "k_proj.bias": (G * E,),
    "v_proj.weight": (G * E, D), "v_proj.bias": (G * E,),
    "o_proj.weight": (D, H * E), "o_proj.bias": (D,),
    "q_norm.weight": (E,), "k_norm.weight": (E,),
}
# Values that float32 has exactly.
param = {n: (torch.randn(s) * (0.3 if len(s) == 2 else 0.5)).float().double() for n, s in shapes.items()}
for p in param.values():
    p.requires_grad_()
u = torch.randn(B, T, D).float().double().requires_grad_()
grad_y = torch.randn(B, T, D).float().double()


def norm(x, w):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * w


angle = torch.arange(T)[:, None] * THETA ** (-torch.arange(0, E, 2) / E)
cos, sin = angle.cos(), angle.sin()


def rotate(x):
    a, b = x[..., : E // 2], x[..., E // 2 :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def heads(name, count):
    x = u @ param[name + ".weight"].T + param[name + ".bias"]
    return x.view(B, T, count, E).transpose(1, 2)


q = rotate(norm(heads("q_proj", H), param["q_norm.weight"]))
k = rotate(norm(heads("k_proj", G), param["k_norm.weight"])).repeat_interleave(H // G, 1)
v = heads("v_proj", G).repeat_interleave(H // G, 1)
at = torch.arange(T)
seen = at[:, None] >= at[None, :]
if window:
    seen = seen & (at[:, None] - at[None, :] < window)
p = (q @ k.transpose(-1, -2) / E**0.5).masked_fill(~seen, -torch.inf).softmax(-1)
mixed = (p @ v).transpose(1, 2).reshape(B, T, H * E)
y = mixed @ param["o_proj.weight"].T + param["o_proj.bias"]
(y * grad_y).sum().backward()

tensors = {"u": u, "y": y, "grad_y": grad_y, "grad.u": u.grad}
for name, value in param.items():
    tensors["param." + name] = value
    tensors["grad." + name] = value.grad
facts = {"hidden_size": D, "heads": H, "kv_heads": G, "head_dim": E, "biases": 1, "norm_eps": EPS,
         "theta": THETA}
if window:
    facts["parameter"] = window
sys.stdout.buffer.write(save({n: t.detach().contiguous() for n, t in tensors.items()},
                             {n: str(v) for n, v in facts.items()}))
