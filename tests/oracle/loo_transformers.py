#!/usr/bin/env python3
"""LOO as a user of transformers would write it well: the baseline that `loo` is timed against.

float32, one full forward pass per ablation and batch, no autograd, no key/value cache, the
attention named by --attention; logits are made a chunk of positions at a time, so that memory is
the trunk's log-probabilities of one batch. An ablated mixer is skipped, not computed and thrown
away. The time of an ablation is its own passes and metrics; the trunk's is given apart.

usage: loo_transformers.py MODEL DATA.jsonl|DATA.h5 [--tokens N] [--ablate mixer|block]
                           [--layers 0-11,13] [--batch-tokens N] [--threads N] [--json]
"""
import argparse
import json
import os
import time

import torch
from transformers import AutoModelForCausalLM

CHUNK = 512  # positions whose logits exist at once


class NoMixer(torch.nn.Module):
    def forward(self, hidden_states, *args, **kwargs):
        return torch.zeros_like(hidden_states), None


class NoBlock(torch.nn.Module):
    def forward(self, hidden_states, *args, **kwargs):
        return hidden_states


def read_rows(path, limit):
    """[(ids, mask or None)], cut after `limit` tokens in all."""
    if path.endswith(".h5"):
        import h5py
        with h5py.File(path) as file:
            tokens, offsets = file["tokens"][:], file["row_offsets"][:]
            masks = file["loss_mask"][:] if "loss_mask" in file else None
        pairs = [(int(a), int(b)) for a, b in zip(offsets[:-1], offsets[1:])]
        rows = [(tokens[a:b].tolist(), None if masks is None else masks[a:b].tolist())
                for a, b in pairs]
    else:
        with open(path) as file:
            rows = [(json.loads(line)["ids"], None) for line in file if line.strip()]
    kept, total = [], 0
    for ids, mask in rows:
        if limit and total >= limit:
            break
        room = len(ids) if not limit else min(len(ids), limit - total)
        kept.append((ids[:room], mask and mask[:room]))
        total += room
    return kept


def make_batches(rows, batch_tokens):
    """Right-padded batches of rows in order; padding comes after every counted position."""
    batches, group = [], []
    for row in rows:
        longest = max(len(other[0]) for other in group + [row])
        if group and longest * (len(group) + 1) > batch_tokens:
            batches.append(group)
            group = []
        group.append(row)
    batches.append(group)
    return [pad(group) for group in batches]


def pad(group):
    longest = max(len(ids) for ids, _ in group)
    ids = torch.zeros(len(group), longest, dtype=torch.long)
    counted = torch.zeros(len(group), longest, dtype=torch.bool)
    has_next = torch.zeros(len(group), longest, dtype=torch.bool)
    for i, (row, mask) in enumerate(group):
        ids[i, :len(row)] = torch.tensor(row)
        if mask is None:
            counted[i, :len(row)] = True
            has_next[i, :len(row) - 1] = True
        else:
            counted[i, :len(row) - 1] = torch.tensor(mask[1:], dtype=torch.bool)
            has_next[i] = counted[i]
    targets = torch.roll(ids, -1, 1).reshape(-1)
    return ids, targets, counted.reshape(-1), has_next.reshape(-1)


def hidden_states(model, ids):
    """[B * T, D] after the last norm."""
    return model.model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)


def add_metrics(sums, model, hidden, trunk, targets, counted, has_next):
    for start in range(0, len(hidden), CHUNK):
        part = slice(start, start + CHUNK)
        s = torch.log_softmax(model.lm_head(hidden[part]), -1)
        t = trunk[part]
        here, nexts, difference = counted[part], has_next[part], t - s
        agree = s.argmax(-1) == t.argmax(-1)
        sums["ce"] -= s.gather(1, targets[part, None])[:, 0][nexts].double().sum().item()
        sums["kl"] += (t.exp() * difference).sum(-1)[here].double().sum().item()
        sums["rkl"] -= (s.exp_() * difference).sum(-1)[here].double().sum().item()
        sums["top1"] += agree[here].sum().item()


def parse_layers(text, count):
    if not text:
        return list(range(count))
    layers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        layers += range(int(first), int(last or first) + 1)
    return layers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--tokens", type=int, help="use the first N tokens of the data")
    parser.add_argument("--ablate", choices=("mixer", "block"), default="mixer")
    parser.add_argument("--layers", help="a subset; the time of all layers is scaled from it")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--attention", default="sdpa", choices=("sdpa", "eager"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    model = AutoModelForCausalLM.from_pretrained(
        options.model, dtype=torch.float32, attn_implementation=options.attention).eval()
    count = model.config.num_hidden_layers
    layers = parse_layers(options.layers, count)
    batches = make_batches(read_rows(options.data, options.tokens), options.batch_tokens)
    names = ("ce", "kl", "rkl", "top1")
    sums = {layer: dict.fromkeys(names, 0.0) for layer in layers}
    seconds, baseline, trunk_seconds = dict.fromkeys(layers, 0.0), 0.0, 0.0
    counted_total = sum(int(batch[2].sum()) for batch in batches)
    next_total = sum(int(batch[3].sum()) for batch in batches)

    with torch.inference_mode():
        hidden_states(model, batches[0][0][:1, :32])  # first-call costs
        for ids, targets, counted, has_next in batches:
            start = time.perf_counter()
            hidden = hidden_states(model, ids)
            trunk = torch.empty(len(hidden), model.config.vocab_size)
            for at in range(0, len(hidden), CHUNK):
                torch.log_softmax(model.lm_head(hidden[at:at + CHUNK]), -1, out=trunk[at:at + CHUNK])
            baseline -= trunk.gather(1, targets[:, None])[:, 0][has_next].double().sum().item()
            trunk_seconds += time.perf_counter() - start
            for layer in layers:
                start = time.perf_counter()
                block = model.model.layers[layer]
                mixer = block.self_attn
                if options.ablate == "mixer":
                    block.self_attn = NoMixer()
                else:
                    model.model.layers[layer] = NoBlock()
                hidden = hidden_states(model, ids)
                block.self_attn, model.model.layers[layer] = mixer, block
                add_metrics(sums[layer], model, hidden, trunk, targets, counted, has_next)
                seconds[layer] += time.perf_counter() - start

    results = [{"layer": layer, "ce": sums[layer]["ce"] / next_total, "seconds": seconds[layer],
                **{name: sums[layer][name] / counted_total for name in names[1:]}}
               for layer in layers]
    total = sum(seconds.values())
    summary = {"model": options.model, "ablate": options.ablate, "threads": options.threads,
               "attention": options.attention, "tokens": int(sum(batch[2].numel() for batch in batches)),
               "counted": counted_total, "baseline_ce": baseline / next_total,
               "trunk_seconds": trunk_seconds, "ablations": len(layers), "ablation_seconds": total,
               "seconds_scaled_to_all_layers": trunk_seconds + total / len(layers) * count}
    if options.json:
        print(json.dumps({**summary, "layers": results}, indent=1))
        return
    for row in results:
        print(f"layer {row['layer']:3}  ce {row['ce']:.7f}  kl {row['kl']:.7f}  rkl {row['rkl']:.7f}"
              f"  top1 {row['top1']:.6f}  {row['seconds']:.3f} s")
    for name, value in summary.items():
        print(f"{name}: {value}")


main()
