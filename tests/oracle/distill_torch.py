#!/usr/bin/env python3
"""Distillation of a hybrid in PyTorch, as `apriel-tool distill --in-order` does it: the oracle of its
losses, step by step. The teacher is transformers'; the student is a copy of it with the m2 mixers
of a hybrid that `convert --kind m2 --format apriel2` wrote. AdamW, schedule, clipping and groups are
PyTorch's and transformers' own; autograd does the rest. Float32.

usage:
  distill_torch.py MODEL HYBRID TOKENS.h5 [--batch N] [--heldout N] [--phases mixers:20,all:30]
      [--loss rkl|fkl|ce] [--ce SHARE] [--temperature T] [--decay X] [--lr X] [--factors embedding=0.1,...]
      [--golden FILE.json | --compare FILE.db]

--golden writes the losses and norms; --compare reads those of apriel-tool from its database and says
how far they are from these.
"""
import argparse
import copy
import json
import sqlite3
import sys

import h5py
import torch
import torch.nn.functional as F
from safetensors import safe_open
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

from mmr_torch import Mixer

FACTORS = {"mixer": 1, "norm": 0.1, "mlp": 0.1, "attention": 0.1, "embedding": 0, "head": 0.1}


class Attention(torch.nn.Module):
    """An m2 mixer where transformers calls attention."""

    def __init__(self, mixer):
        super().__init__()
        self.mixer = mixer

    def forward(self, hidden_states, *_, **__):
        return self.mixer(hidden_states), None


def load_student(teacher, directory):
    student, file = copy.deepcopy(teacher), safe_open(f"{directory}/model.safetensors", "pt")
    config, names = teacher.config, list(file.keys())
    for index, layer in enumerate(student.model.layers):
        begin = f"model.decoder.blocks.{index}.mixer."
        own = {name[len(begin):]: file.get_tensor(name).float() for name in names if name.startswith(begin)}
        if "A_log" not in own:
            continue
        own["dt_proj.bias"] *= 2  # stored as half of what is added
        layer.self_attn = Attention(Mixer(own, config.num_key_value_heads * config.head_dim))
    student.requires_grad_(True)
    return student


def group_of(name):
    if ".mixer." in name:
        return "mixer"
    if "norm" in name:
        return "norm"
    if ".mlp." in name:
        return "mlp"
    if "self_attn" in name:
        return "attention"
    return "embedding" if "embed_tokens" in name else "head"


def make_optimizer(student, phase, factors, options):
    groups = []
    for name, parameter in student.named_parameters():
        factor = factors[group_of(name)] if phase == "all" or group_of(name) == "mixer" else 0
        parameter.requires_grad_(factor > 0)
        if not factor:
            continue
        matrix = parameter.dim() == 2 and not name.endswith("A_log")
        groups.append({"params": [parameter], "lr": options.lr * factor,
                       "weight_decay": options.decay if matrix else 0.0})
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)


def make_schedule(optimizer, steps):
    """A warm-up of a twentieth and a cosine to a tenth; step 0 has a share of the warm-up."""
    warmup = steps // 20

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        probe = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        shape = get_cosine_schedule_with_warmup(probe, warmup, steps).lr_lambdas[0](step)
        return 0.1 + 0.9 * shape
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def loss_of(student, teacher, rows, masks, options):
    """The mean over the counted positions of all rows; those of one length pass together."""
    total, count, t = 0.0, 0, options.temperature
    for length in sorted({len(row) for row in rows}):
        ids = torch.stack([row for row in rows if len(row) == length])
        chosen = [mask for row, mask in zip(rows, masks) if len(row) == length]
        with torch.no_grad():
            target = torch.log_softmax(teacher(ids).logits / t, -1)
        logits = student(ids).logits
        log_p = torch.log_softmax(logits / t, -1)
        value = {"rkl": (log_p.exp() * (log_p - target)).sum(-1) / t,
                 "fkl": (target.exp() * (target - log_p)).sum(-1) / t}
        following = ids.roll(-1, 1)
        value["ce"] = F.cross_entropy(logits.transpose(1, 2), following, reduction="none")
        counted = torch.zeros(ids.shape, dtype=torch.bool)
        for row, mask in enumerate(chosen):
            counted[row, :-1] = True if mask is None else mask[1:]
            counted[row, -1] = mask is None and options.loss != "ce" and not options.ce
        mixed = (1 - options.ce) * value[options.loss] + options.ce * value["ce"]
        total, count = total + mixed[counted].sum(), count + int(counted.sum())
    return total / count


def run(options):
    teacher = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32,
                                                   attn_implementation="eager").eval()
    teacher.requires_grad_(False)
    student = load_student(teacher, options.hybrid)
    with h5py.File(options.tokens) as file:
        tokens, offsets = torch.tensor(file["tokens"][:].astype("int64")), file["row_offsets"][:].tolist()
        masks = torch.tensor(file["loss_mask"][:].astype("bool")) if "loss_mask" in file else None
    usable = [row for row in range(len(offsets) - 1 - options.heldout)
              if (masks is None and offsets[row + 1] - offsets[row] > 1)
              or (masks is not None and bool(masks[offsets[row] + 1:offsets[row + 1]].any()))]
    factors = dict(FACTORS)
    for text in filter(None, options.factors.split(",")):
        name, value = text.split("=")
        factors[name] = float(value)
    losses, norms, step = [], [], 0
    for phase in options.phases.split(","):
        name, steps = phase.split(":")
        optimizer = make_optimizer(student, name, factors, options)
        schedule = make_schedule(optimizer, int(steps))
        for _ in range(int(steps)):
            rows = [usable[(step * options.batch + i) % len(usable)] for i in range(options.batch)]
            parts = [slice(offsets[row], offsets[row + 1]) for row in rows]
            loss = loss_of(student, teacher, [tokens[part] for part in parts],
                           [None if masks is None else masks[part] for part in parts], options)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            norms.append(torch.nn.utils.clip_grad_norm_(parameters, 1.0).item())
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            step += 1
    return losses, norms


def compare(losses, norms, path):
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT loss, norm FROM training_step WHERE run ="
                                " (SELECT max(run) FROM training_step) ORDER BY step").fetchall()
    assert len(rows) == len(losses), f"{len(rows)} steps there, {len(losses)} here"
    far = [abs(row[0] / loss - 1) for row, loss in zip(rows, losses)]
    far_norms = [abs(row[1] / norm - 1) for row, norm in zip(rows, norms)]
    print(f"{len(rows)} steps: losses {losses[0]:.6f} .. {losses[-1]:.6f}, largest relative difference "
          f"{max(far):.2e} (step {far.index(max(far))}); of norms {max(far_norms):.2e}")
    return max(far) <= 0.01


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("model", "hybrid", "tokens"):
        parser.add_argument(name)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--heldout", type=int, default=16)
    parser.add_argument("--phases", default="all:50")
    parser.add_argument("--loss", choices=("rkl", "fkl", "ce"), default="rkl")
    parser.add_argument("--ce", type=float, default=0.0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--decay", type=float, default=0.0)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--factors", default="")
    parser.add_argument("--golden")
    parser.add_argument("--compare")
    options = parser.parse_args()
    losses, norms = run(options)
    if options.golden:
        with open(options.golden, "w") as file:
            json.dump({"losses": losses, "norms": norms}, file, indent=1)
            file.write("\n")
    if options.compare and not compare(losses, norms, options.compare):
        sys.exit("more than 1 % apart")


main()
