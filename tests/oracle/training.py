#!/usr/bin/env python3
"""Learning rates of transformers' schedules, and steps of torch.optim.AdamW with groups of parameters,
all in float64: `training.py >tests/data/golden/training.json`.

The schedules of transformers begin a warm-up at rate 0 (step / warmup); here, as in
src/train/schedule.h, step s of a warm-up has (s + 1) / warmup of the rate, so those steps are
written by that formula. The parameters are those of layer 1 of tests/data/models/foreign-llama and
its final norm, with values and gradients by the formulas below, which tests/test_parameters.c
repeats. The limit of the gradient's norm is clip / norm, without PyTorch's 1e-6.
"""
import json
import math

import torch
import transformers

SCHEDULES = [
    {"kind": "constant", "rate": 1e-3, "steps": 12, "warmup": 3, "cooldown": 0, "floor": 0},
    {"kind": "cosine", "rate": 1e-3, "steps": 12, "warmup": 0, "cooldown": 0, "floor": 0},
    {"kind": "cosine", "rate": 3e-4, "steps": 40, "warmup": 5, "cooldown": 0, "floor": 0.1},
    {"kind": "cosine", "rate": 2.5, "steps": 8, "warmup": 7, "cooldown": 0, "floor": 0.5},
    {"kind": "wsd", "rate": 1e-3, "steps": 20, "warmup": 4, "cooldown": 6, "floor": 0},
    {"kind": "wsd", "rate": 7e-4, "steps": 15, "warmup": 0, "cooldown": 15, "floor": 0.2},
    {"kind": "wsd", "rate": 7e-4, "steps": 15, "warmup": 3, "cooldown": 1, "floor": 0},
]
# Layer 1 in the order of the weights (norms, MLP, then the mixer), and the final norm.
WIDTH, INNER, HEADS, KV_HEADS, HEAD_DIM = 16, 16, 4, 2, 4
PARAMETERS = [
    {"count": WIDTH, "group": 1, "decays": False},
    {"count": WIDTH, "group": 1, "decays": False},
    {"count": 2 * INNER * WIDTH, "group": 1, "decays": True},
    {"count": WIDTH * INNER, "group": 1, "decays": True},
    {"count": (HEADS + 2 * KV_HEADS) * HEAD_DIM * WIDTH, "group": 0, "decays": True},
    {"count": WIDTH * HEADS * HEAD_DIM, "group": 0, "decays": True},
    {"count": WIDTH, "group": 2, "decays": False},
]
GROUPS = [{"rate": 1, "decay": 0.1}, {"rate": 0.25, "decay": 0}, {"rate": 2, "decay": 0.05}]
SCHEDULE = {"kind": "cosine", "rate": 0.02, "steps": 6, "warmup": 2, "cooldown": 0, "floor": 0.1}
BETA1, BETA2, EPSILON, CLIP = 0.9, 0.95, 1e-8, 0.7


def rates(schedule):
    """One more than there are steps."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=schedule["rate"])
    warmup, steps, floor = schedule["warmup"], schedule["steps"], schedule["floor"]
    if schedule["kind"] == "constant":
        scheduler = transformers.get_constant_schedule_with_warmup(optimizer, warmup)
    elif schedule["kind"] == "cosine":
        scheduler = transformers.get_cosine_with_min_lr_schedule_with_warmup(
            optimizer, warmup, steps, min_lr_rate=floor)
    else:
        scheduler = transformers.get_wsd_schedule(
            optimizer, warmup, schedule["cooldown"], num_stable_steps=steps - warmup - schedule["cooldown"],
            min_lr_ratio=floor, decay_type="linear")
    out = []
    for step in range(steps + 1):
        out.append(schedule["rate"] * (step + 1) / warmup if step < warmup else optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


def value(index, i):
    return ((i * 37 + index * 11) % 101 - 50) / 100


def gradient(index, i, step):
    return ((i * 53 + index * 17 + step * 29) % 97 - 48) / (200 if step % 2 == 0 else 6000)


def main():
    tensors = [torch.nn.Parameter(torch.tensor([value(k, i) for i in range(p["count"])], dtype=torch.float64))
               for k, p in enumerate(PARAMETERS)]
    optimizer = torch.optim.AdamW(
        [{"params": [tensor], "lr": 0, "weight_decay": GROUPS[p["group"]]["decay"] if p["decays"] else 0}
         for tensor, p in zip(tensors, PARAMETERS)], betas=(BETA1, BETA2), eps=EPSILON)
    norms = []
    for step, rate in enumerate(rates(SCHEDULE)[:SCHEDULE["steps"]]):
        for k, (tensor, p) in enumerate(zip(tensors, PARAMETERS)):
            tensor.grad = torch.tensor([gradient(k, i, step) for i in range(p["count"])], dtype=torch.float64)
            optimizer.param_groups[k]["lr"] = rate * GROUPS[p["group"]]["rate"]
        norm = math.sqrt(sum(float((tensor.grad**2).sum()) for tensor in tensors))
        norms.append(norm)
        for tensor in tensors:
            tensor.grad *= min(1, CLIP / norm)
        optimizer.step()
    print(json.dumps({
        "schedules": [{**schedule, "rates": rates(schedule)} for schedule in SCHEDULES],
        "adamw": {
            "schedule": SCHEDULE, "groups": GROUPS, "beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON,
            "clip": CLIP, "norms": norms,
            "parameters": [{**p, "values": tensor.tolist()[:16]} for tensor, p in zip(tensors, PARAMETERS)],
        }}, indent=1))


main()
