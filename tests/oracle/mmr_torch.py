#!/usr/bin/env python3
"""An MMR distillation probe in PyTorch, as a good user would write it: oracle and CPU baseline.

One layer's attention is replaced by an m2 mixer and only that mixer is trained, by reverse KL
against the unmodified model. What does not change between steps is cached: the input of the
replaced layer and the teacher's logits (or last hidden states). A step runs the layers from the
replaced one on; autograd goes through the frozen ones without gradients for their weights. The
scan is an autograd.Function of one fused multiply-add a token over [batch, d_inner, d_state], in
chunks whose states are recomputed backward; head and loss are one Function over chunks of
positions, which makes the gradient while it has the probabilities.

usage:
  mmr_torch.py golden GOLDEN_DIRECTORY DEMO_MODEL [--layers 0,5,11] [--align paper,gqa] [--steps N]
  mmr_torch.py time MODEL IDS.jsonl --batch B --seq-len T [--layers 0,15,29] [--steps N]
               [--threads N] [--d-state N] [--teacher-cache logits|hidden] [--json | --turns]

With --turns it says "ready" before each step, waits for a line and prints what the step took: see
in_turn.py.
"""
import argparse
import json
import math
import os
import sys
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

SCAN_CHUNK = 64    # tokens whose states exist at once
HEAD_CHUNK = 512   # positions whose logits exist at once


class Scan(torch.autograd.Function):
    """y [T, B, I] of the selective scan; x, dt [T, B, I], a [I, N], b [T, B, S/r, N], c [T, B, S, N]
    with S = I / N sub-heads and r = repeat. dt is after the softplus."""

    @staticmethod
    def expand(b, repeat):
        return b.repeat_interleave(repeat, 2) if repeat > 1 else b

    @staticmethod
    def states(x, dt, a, b, state):
        """Decay and states [t, B, S, P, N] of a chunk, P = N channels a sub-head."""
        decay = torch.exp(dt[..., None] * a)
        states = (dt * x)[..., None] * b[:, :, :, None, :]
        torch.addcmul(states[0], decay[0], state, out=states[0])
        for t in range(1, len(states)):
            torch.addcmul(states[t], decay[t], states[t - 1], out=states[t])
        return decay, states

    @staticmethod
    def split(x, dt, a, b, c, repeat, part):
        n = a.shape[1]
        heads = a.shape[0] // n
        cut = [tensor[part].unflatten(2, (heads, n)) for tensor in (x, dt)]
        return *cut, a.view(heads, n, n), Scan.expand(b[part], repeat), c[part]

    @staticmethod
    def forward(ctx, x, dt, a, b, c, repeat):
        n = a.shape[1]
        state = x.new_zeros(x.shape[1], a.shape[0] // n, n, n)
        y, starts = torch.empty_like(x), []
        for at in range(0, len(x), SCAN_CHUNK):
            part = slice(at, at + SCAN_CHUNK)
            starts.append(state)
            xs, dts, as_, bs, cs = Scan.split(x, dt, a, b, c, repeat, part)
            _, states = Scan.states(xs, dts, as_, bs, state)
            y[part] = torch.matmul(states, cs[..., None])[..., 0].flatten(2)
            state = states[-1].clone()
        ctx.save_for_backward(x, dt, a, b, c, *starts)
        ctx.repeat = repeat
        return y

    @staticmethod
    def backward(ctx, dy):
        x, dt, a, b, c, *starts = ctx.saved_tensors
        n, repeat = a.shape[1], ctx.repeat
        dx, ddt, da = torch.empty_like(x), torch.empty_like(x), torch.zeros_like(a)
        db, dc = torch.empty_like(b), torch.empty_like(c)
        carry = None  # decay[t + 1] * gradient of the state at t + 1
        for index in reversed(range(len(starts))):
            part = slice(index * SCAN_CHUNK, (index + 1) * SCAN_CHUNK)
            xs, dts, as_, bs, cs = Scan.split(x, dt, a, b, c, repeat, part)
            decay, states = Scan.states(xs, dts, as_, bs, starts[index])
            dys = dy[part].unflatten(2, xs.shape[2:])
            dc[part] = torch.matmul(dys[..., None, :], states)[..., 0, :]
            grad = dys[..., None] * cs[:, :, :, None, :]
            if carry is not None:
                grad[-1] += carry
            for t in range(len(grad) - 2, -1, -1):
                torch.addcmul(grad[t], decay[t + 1], grad[t + 1], out=grad[t])
            carry = decay[0] * grad[0]
            from_drive = torch.matmul(grad, bs[..., None])[..., 0]
            dx[part] = (from_drive * dts).flatten(2)
            head_db = torch.matmul((dts * xs)[..., None, :], grad)[..., 0, :]
            db[part] = head_db.unflatten(2, (-1, repeat)).sum(3)
            grad *= decay  # now the gradient of dt * a
            grad[1:] *= states[:-1]
            grad[0] *= starts[index]
            ddt[part] = (from_drive * xs + (grad * as_).sum(-1)).flatten(2)
            da += (grad * dts[..., None]).sum((0, 1)).view_as(a)
        return dx, ddt, da, db, dc, None


class HeadLoss(torch.autograd.Function):
    """Mean over positions of D_KL(student || teacher) from hidden [M, D] and the head's weight.
    teacher(part) gives the teacher's log-probabilities of a slice of positions."""

    @staticmethod
    def forward(ctx, hidden, weight, teacher):
        gradient, total = torch.empty_like(hidden), 0.0
        for at in range(0, len(hidden), HEAD_CHUNK):
            part = slice(at, at + HEAD_CHUNK)
            log_p = torch.log_softmax(hidden[part] @ weight.T, -1)
            difference = log_p - teacher(part)
            p = log_p.exp_()
            divergence = (p * difference).sum(-1, keepdim=True)
            total += divergence.double().sum().item()
            gradient[part] = (p * (difference - divergence)) @ weight / len(hidden)
        ctx.save_for_backward(gradient)
        return hidden.new_tensor(total / len(hidden))

    @staticmethod
    def backward(ctx, grad):
        return ctx.saved_tensors[0] * grad, None, None


class Mixer(torch.nn.Module):
    """The m2 mixer with the effective bias b added once; parameters named as in checkpoints."""

    def __init__(self, parameters, d_xb):
        super().__init__()
        self.p = torch.nn.ParameterDict(
            {name.replace(".", "/"): torch.nn.Parameter(value.clone())
             for name, value in parameters.items()})
        self.inner, self.state = parameters["A_log"].shape
        self.xb = d_xb

    def forward(self, u):
        """u [B, T, D]."""
        p = {name.replace("/", "."): value for name, value in self.p.items()}
        inner, xb, n = self.inner, self.xb, self.state
        repeat, taps = inner // xb, p["conv1d.weight"].shape[-1]
        u = u.transpose(0, 1)  # [T, B, D]: a token's states lie together
        z, x, b, c = F.linear(u, p["in_proj.weight"]).split([inner, xb, xb, inner], -1)
        x = Scan.expand(x.unflatten(2, (-1, n)), repeat).flatten(2)
        x = F.pad(x, (0, 0, 0, 0, taps - 1, 0))
        weight = p["conv1d.weight"][:, 0]
        x = sum(x[j:len(x) - taps + 1 + j] * weight[:, j] for j in range(taps)) + p["conv1d.bias"]
        x = F.silu(x)
        dt = F.linear(F.linear(u, p["dt_in_proj.weight"]), p["dt_proj.weight"], p["dt_proj.bias"])
        y = Scan.apply(x, F.softplus(dt), -torch.exp(p["A_log"]), b.unflatten(2, (-1, n)),
                       c.unflatten(2, (-1, n)), repeat)
        y = (y + p["D"] * x) * F.silu(z)
        return F.linear(y, p["out_proj.weight"]).transpose(0, 1)


def gqa_align(parameters, heads, groups, head_dim):
    """Permute the C rows of in_proj and the columns of out_proj as --align gqa."""
    inner, n = parameters["A_log"].shape
    blocks, share = head_dim // n, heads // groups
    order = [(kv * share + r) * blocks + block
             for kv in range(groups) for block in range(blocks) for r in range(share)]
    rows = (torch.tensor(order)[:, None] * n + torch.arange(n)).flatten()
    parameters = dict(parameters)
    in_proj = parameters["in_proj.weight"].clone()
    in_proj[-inner:] = in_proj[-inner:][rows]
    parameters["in_proj.weight"] = in_proj
    parameters["out_proj.weight"] = parameters["out_proj.weight"][:, rows].contiguous()
    return parameters


def mil_parameters(model, layer, d_state, seed=0):
    """The published MIL initialisation (recipes/initialisation.md) drawn with torch."""
    attention = model.model.layers[layer].self_attn
    generator = torch.Generator().manual_seed(seed * 1000 + layer)
    q, k, v, o = (getattr(attention, name).weight for name in ("q_proj", "k_proj", "v_proj", "o_proj"))
    hidden, inner = q.shape[1], q.shape[0]
    rank, taps = math.ceil(hidden / 16), 4

    def uniform(*shape, bound):
        return (torch.rand(shape, generator=generator) * 2 - 1) * bound

    step = torch.exp(torch.rand(inner, generator=generator) * math.log(100) + math.log(1e-3))
    step = step.clamp(min=1e-4)
    return {
        "in_proj.weight": torch.cat([uniform(inner, hidden, bound=hidden ** -0.5), v, k, q]),
        "dt_in_proj.weight": uniform(rank, hidden, bound=hidden ** -0.5),
        "dt_proj.weight": uniform(inner, rank, bound=rank ** -0.5),
        "dt_proj.bias": 2 * (step + torch.log(-torch.expm1(-step))),
        "conv1d.weight": uniform(inner, 1, taps, bound=taps ** -0.5),
        "conv1d.bias": uniform(inner, bound=taps ** -0.5),
        "A_log": torch.log(torch.arange(1, d_state + 1).float()).expand(inner, d_state).contiguous(),
        "D": torch.ones(inner), "out_proj.weight": o.detach().clone(),
    }


class Teacher:
    """The frozen model: the trunk's hidden states and, for a layer, the pass from there on."""

    def __init__(self, path):
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32,
                                                          attn_implementation="sdpa").eval()
        self.model.requires_grad_(False)
        self.layers, self.head = self.model.model.layers, self.model.lm_head.weight

    def rotary(self, hidden):
        positions = torch.arange(hidden.shape[1])[None]
        return positions, self.model.model.rotary_emb(hidden, positions)

    def run(self, hidden, first, last):
        positions, rotary = self.rotary(hidden)
        for layer in self.layers[first:last]:
            out = layer(hidden, attention_mask=None, position_ids=positions,
                        position_embeddings=rotary, use_cache=False)
            hidden = out[0] if isinstance(out, tuple) else out
        return hidden

    @torch.no_grad()
    def inputs(self, ids, layer):
        return self.run(self.model.model.embed_tokens(ids), 0, layer)

    @torch.no_grad()
    def finish(self, hidden, layer):
        return self.model.model.norm(self.run(hidden, layer, len(self.layers))).flatten(0, 1)

    @torch.no_grad()
    def log_probs(self, final):
        return torch.log_softmax(final @ self.head.T, -1)

    def student(self, mixer, hidden, layer):
        """[B * T, D] after the last norm, with `mixer` in place of the layer's attention."""
        block = self.layers[layer]
        hidden = hidden + mixer(block.input_layernorm(hidden))
        hidden = hidden + block.mlp(block.post_attention_layernorm(hidden))
        return self.model.model.norm(self.run(hidden, layer + 1, len(self.layers))).flatten(0, 1)


def optimizer_for(mixer, lr):
    return torch.optim.AdamW(mixer.parameters(), lr=lr, betas=(0.9, 0.95), eps=1e-8,
                             weight_decay=0.0)


def train_step(teacher, mixer, optimizer, layer, inputs, teacher_log_probs):
    optimizer.zero_grad(set_to_none=True)
    final = teacher.student(mixer, inputs, layer)
    loss = HeadLoss.apply(final, teacher.head, teacher_log_probs)
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def held_out(teacher, mixer, layer, ids):
    inputs = teacher.inputs(ids, layer)
    t = teacher.log_probs(teacher.finish(inputs, layer)).double()
    s = teacher.log_probs(teacher.student(mixer, inputs, layer)).double()
    ce = -s.view(*ids.shape, -1)[:, :-1].gather(2, ids[:, 1:, None]).mean()
    return {"ce": ce.item(), "kl": (t.exp() * (t - s)).sum(-1).mean().item(),
            "rkl": (s.exp() * (s - t)).sum(-1).mean().item(),
            "top1": (s.argmax(-1) == t.argmax(-1)).double().mean().item()}


def check_mixer(path):
    """Values and gradients of the mixer against the float64 golden file."""
    from safetensors import safe_open
    file = safe_open(path, "pt")
    shape = {key: int(value) for key, value in file.metadata().items()}
    parameters = {name[6:]: file.get_tensor(name) for name in file.keys() if name.startswith("param.")}
    mixer = Mixer(parameters, shape["kv_heads"] * shape["head_dim"])
    u = file.get_tensor("u").requires_grad_()
    y = mixer(u)
    y.backward(file.get_tensor("grad_y"))
    worst = {"y": (y - file.get_tensor("y")).abs().max().item(),
             "u": (u.grad - file.get_tensor("grad.u")).abs().max().item()}
    for name, parameter in mixer.p.items():
        name = name.replace("/", ".")
        worst[name] = (parameter.grad - file.get_tensor("grad." + name)).abs().max().item()
    print("m2 mixer, largest differences:", {name: f"{value:.1e}" for name, value in worst.items()})
    assert max(worst.values()) < 1e-10


def golden(options):
    from safetensors.torch import load_file
    check_mixer(os.path.join(options.first, "m2_mixer.safetensors"))
    with open(os.path.join(options.first, "demo-llama-2.6m.json")) as file:
        reference = json.load(file)
    data = load_file(os.path.join(options.first, "demo-llama-2.6m.mmr.safetensors"))
    teacher, held = Teacher(options.second), torch.tensor(reference["tokens"])
    config = teacher.model.config
    for layer in [int(text) for text in options.layers.split(",")]:
        parameters = {name.split(".", 2)[2]: value for name, value in data.items()
                      if name.startswith(f"layer.{layer}.")}
        for align in options.align.split(","):
            probe = next(p for p in reference["mmr"]["probes"]
                         if p["layer"] == layer and p["align"] == align)
            start = parameters if align == "paper" else gqa_align(
                parameters, config.num_attention_heads, config.num_key_value_heads, config.head_dim)
            mixer = Mixer(start, config.num_key_value_heads * config.head_dim)
            optimizer = optimizer_for(mixer, reference["mmr"]["optimizer"]["lr"])
            before, losses, clock = held_out(teacher, mixer, layer, held), [], time.perf_counter()
            for ids in data["tokens"][:options.steps].long():
                inputs = teacher.inputs(ids, layer)
                target = teacher.log_probs(teacher.finish(inputs, layer))
                losses.append(train_step(teacher, mixer, optimizer, layer, inputs,
                                         lambda part: target[part]))
            clock = time.perf_counter() - clock
            worst = max(abs(a - b) / b for a, b in zip(losses, probe["losses"]))
            print(f"layer {layer} {align}: first {losses[0]:.7f} ({probe['losses'][0]:.7f}), "
                  f"last {losses[-1]:.7f} ({probe['losses'][len(losses) - 1]:.7f}), worst step "
                  f"{worst:.1e} relative, {clock / len(losses):.3f} s a step with the trunk")
            print("   before", before)
            if len(losses) == len(probe["losses"]):
                print("   after ", held_out(teacher, mixer, layer, held))
            print("   golden", {key: value for key, value in probe.items() if key != "losses"})


def measure(options):
    teacher = Teacher(options.first)
    count = len(teacher.layers)
    with open(options.second) as file:
        rows = [json.loads(line)["ids"] for line in file if line.strip()]
    rows = [row[:options.seq_len] for row in rows if len(row) >= options.seq_len]
    assert len(rows) >= options.batch, "not enough rows of that length"
    batches = [torch.tensor([rows[(step * options.batch + i) % len(rows)] for i in range(options.batch)])
               for step in range(options.steps + 1)]
    results = []
    for layer in [int(text) for text in options.layers.split(",")]:
        config = teacher.model.config
        mixer = Mixer(mil_parameters(teacher.model, layer, options.d_state),
                      config.num_key_value_heads * config.head_dim)
        optimizer, losses, seconds = optimizer_for(mixer, options.lr), [], []
        for ids in batches:
            inputs = teacher.inputs(ids, layer)  # cached by the sweep: outside the step's time
            final = teacher.finish(inputs, layer)
            if options.teacher_cache == "logits":
                cached = torch.empty(len(final), len(teacher.head))
                for at in range(0, len(final), HEAD_CHUNK):
                    cached[at:at + HEAD_CHUNK] = teacher.log_probs(final[at:at + HEAD_CHUNK])

                def target(part):
                    return cached[part]
            else:
                def target(part):
                    return teacher.log_probs(final[part])
            if options.turns:
                print("ready", flush=True)
                sys.stdin.readline()
            start = time.perf_counter()
            losses.append(train_step(teacher, mixer, optimizer, layer, inputs, target))
            seconds.append(time.perf_counter() - start)
            if options.turns:
                print(f"took {seconds[-1]:.6f}", flush=True)
        seconds = sorted(seconds[1:])  # the first step warms up
        results.append({"layer": layer, "seconds_per_step": seconds[len(seconds) // 2],
                        "fastest": seconds[0], "slowest": seconds[-1], "losses": losses})
        if not options.json:
            print(f"layer {layer}: {results[-1]['seconds_per_step']:.3f} s a step (median of "
                  f"{len(seconds)}, {seconds[0]:.3f} to {seconds[-1]:.3f}), losses "
                  f"{' '.join(f'{loss:.4f}' for loss in losses)}")
    summary = {"model": options.first, "batch": options.batch, "seq_len": options.seq_len,
               "tokens": options.batch * options.seq_len, "threads": options.threads,
               "d_state": options.d_state, "teacher_cache": options.teacher_cache,
               "layers_of_model": count}
    if len(results) > 1:  # a step is linear in the layers it runs: fit and average over all
        x = [row["layer"] for row in results]
        y = [row["seconds_per_step"] for row in results]
        mx, my = sum(x) / len(x), sum(y) / len(y)
        slope = sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)
        summary["seconds_per_step_average_over_layers"] = my + slope * ((count - 1) / 2 - mx)
    if options.json:
        print(json.dumps({**summary, "results": results}, indent=1))
    else:
        for name, value in summary.items():
            print(f"{name}: {value}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("mode", choices=("golden", "time"))
    parser.add_argument("first", help="GOLDEN_DIRECTORY or MODEL")
    parser.add_argument("second", help="DEMO_MODEL or IDS.jsonl")
    parser.add_argument("--layers", default="0,5,11")
    parser.add_argument("--align", default="paper,gqa")
    parser.add_argument("--steps", type=int, help="default: 100 golden, 5 time")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--d-state", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--teacher-cache", choices=("logits", "hidden"), default="logits")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--turns", action="store_true")
    options = parser.parse_args()
    if options.threads is None:
        options.threads = 1 if options.mode == "golden" else os.cpu_count()
    torch.set_num_threads(options.threads)
    if options.mode == "golden":
        options.steps = options.steps or 100
        golden(options)
    else:
        options.steps = options.steps or 5
        measure(options)


if __name__ == "__main__":
    main()
