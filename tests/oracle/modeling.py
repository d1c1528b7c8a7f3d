#!/usr/bin/env python3
"""The modelling file that convert writes, against the program (development only; torch, transformers 5.24).

    python3 tests/oracle/modeling.py check BUILD MODEL WORK      hybrids of MODEL, in directory WORK
    python3 tests/oracle/modeling.py train GOLDEN DEMO BUILD WORK   ten steps of AdamW against golden losses

check converts MODEL with no, one, half and all layers replaced to both formats and with windows, Gated
DeltaNet and a mixture to apriel2, loads each with trust_remote_code and compares, in float32:
  logits           with build/tests/print_logits, of the largest
  greedy           64 ids with a cache, with those of `generate` (a gap of the two best below 1e-3 ends it)
  chunks           prefill in uneven pieces and steps, with one pass
  padding          rows of unequal length padded on the left, on the right and inside, with each row alone
  documents        end to end (position_ids, seq_idx, cu_seqlens) with each alone, values and gradients
  beams            generate(num_beams=3) with and without a cache
  checkpointing    gradients with and without, loss with labels
  saved            save_pretrained and back, also by the program (print_logits)
  others           a pickled config, dtype=bfloat16, refusals of foreign caches and masks
"""
import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile

import numpy
import torch
from transformers import AutoConfig, AutoModelForCausalLM

torch.set_num_threads(int(os.environ.get("THREADS", "2")))


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, **options)


def ours(build, directory, ids):
    found = run(f"{build}/tests/print_logits", directory, *ids).stdout
    return torch.from_numpy(numpy.frombuffer(found, dtype="<f4").copy()).view(len(ids), -1)


def load(directory, **options):
    options.setdefault("dtype", torch.float32)
    return AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=True, **options).eval()


def relative(found, expected):
    return ((found.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def expect(name, value, limit):
    print(f"  {name:28} {value:.3g}", flush=True)
    assert value <= limit, f"{name}: {value} above {limit}"


def ids_of(model, count, seed=1):
    return torch.randint(5, model.config.vocab_size, (count,), generator=torch.Generator().manual_seed(seed))


def check_greedy(build, directory, model, tokens=64):
    prompts = [ids_of(model, count, seed).tolist() for count, seed in ((9, 2), (23, 3))]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"ids": ids}) + "\n" for ids in prompts)
        file.flush()
        result = run(f"{build}/apriel-tool", "generate", directory, "--prompts", file.name, "--json",
                     "--max-tokens", tokens, "--ignore-end", "--no-special", "--device", "cpu")
    compared = 0
    for ids, output in zip(prompts, json.loads(result.stdout)["outputs"]):
        found = model.generate(torch.tensor([ids]), max_new_tokens=tokens, do_sample=False, eos_token_id=None,
                               pad_token_id=0, output_logits=True, return_dict_in_generate=True)
        new = found.sequences[0, len(ids):].tolist()
        full = model(found.sequences[:, :-1]).logits[0, len(ids) - 1:]
        expect("steps and one pass", relative(torch.stack(found.logits)[:, 0], full), 1e-4)
        for i, (a, b) in enumerate(zip(new, output["ids"])):
            top = torch.topk(full[i].double(), 2).values
            if a != b:
                assert top[0] - top[1] < 1e-3, f"greedy: token {i} is {a}, ours {b}"
                break
            compared += 1
    print(f"  {'greedy ids equal':28} {compared} of {2 * tokens}", flush=True)


def check_chunks(model):
    ids = ids_of(model, 70)[None]
    whole = model(ids).logits
    cache, parts, first = None, [], 0
    for count in (1, 5, 30, 2, 1, 1, 30):
        out = model(ids[:, first:first + count], cache=cache, use_cache=True)
        cache, first = out.cache, first + count
        parts.append(out.logits)
    expect("chunks", relative(torch.cat(parts, dim=1), whole), 1e-4)


def check_padding(model):
    rows = [ids_of(model, count, count) for count in (37, 11, 1, 24)]
    alone = [model(row[None]).logits[0] for row in rows]
    for side in ("left", "right", "inside"):
        ids, mask, places = torch.full((4, 40), 3), torch.zeros(4, 40, dtype=torch.long), []
        for i, row in enumerate(rows):
            place = torch.arange(len(row))
            if side == "left":
                place = place + 40 - len(row)
            if side == "inside":
                place = torch.randperm(40, generator=torch.Generator().manual_seed(i))[:len(row)].sort().values
            ids[i, place], mask[i, place] = row, 1
            places.append(place)
        worst = 0
        for chunked in (False, True):
            if chunked:  # the same in two pieces, through a cache
                first = model(ids[:, :19], attention_mask=mask[:, :19], use_cache=True)
                second = model(ids[:, 19:], attention_mask=mask, cache=first.cache)
                found = torch.cat([first.logits, second.logits], dim=1)
            else:
                found = model(ids, attention_mask=mask).logits
            assert found.isfinite().all()
            worst = max(worst, *(relative(found[i, places[i]], alone[i]) for i in range(4)))
        expect(f"padding {side}", worst, 1e-4)
    ids, mask = torch.full((3, 30), 3), torch.zeros(3, 30, dtype=torch.long)
    for i, count in enumerate((30, 12, 3)):
        ids[i, 30 - count:], mask[i, 30 - count:] = ids_of(model, count, i), 1
    options = dict(max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    together = model.generate(ids, attention_mask=mask, **options)[:, 30:]
    for i, count in enumerate((30, 12, 3)):
        single = model.generate(ids[i:i + 1, 30 - count:], **options)[:, count:]
        assert torch.equal(together[i:i + 1], single), f"left padding: row {i}: {together[i]} and {single}"
    beams = dict(options, num_beams=3)
    cached, bare = (model.generate(ids[:1], use_cache=use, **beams) for use in (True, False))
    assert torch.equal(cached, bare), "beams with a cache"
    cached = model.generate(ids, attention_mask=mask, **beams)
    bare = model.generate(ids, attention_mask=mask, use_cache=False, **beams)
    assert torch.equal(cached, bare), "padded beams with a cache"
    print("  batches and beams            equal", flush=True)


def gradients_of(model, **inputs):
    model.zero_grad()
    loss = model(**inputs, use_cache=False).loss
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def check_documents(model):
    lengths = (33, 1, 70, 7)
    documents = [ids_of(model, count, 10 + i) for i, count in enumerate(lengths)]
    ids = torch.cat(documents)[None]
    alone = torch.cat([model(document[None]).logits[0] for document in documents])
    positions = torch.cat([torch.arange(count) for count in lengths])[None]
    seq_idx = torch.cat([torch.full((count,), i) for i, count in enumerate(lengths)])[None]
    ends = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    ways = {"position_ids": {"position_ids": positions}, "seq_idx": {"seq_idx": seq_idx},
            "cu_seqlens": {"cu_seqlens": ends}, "cu_seq_lens_q": {"cu_seq_lens_q": ends, "position_ids": positions}}
    for name, way in ways.items():
        expect(f"documents by {name}", relative(model(ids, **way).logits[0], alone), 1e-4)
    rows = torch.cat([ids, ids.flip(1)])  # rows that are cut at other places
    both = model(rows, seq_idx=torch.cat([seq_idx, seq_idx.flip(1)])).logits
    expect("documents in two rows", max(relative(both[0], alone), relative(
        both[1], torch.cat([model(d.flip(0)[None]).logits[0] for d in reversed(documents)]))), 1e-4)
    labels = torch.cat([torch.cat([torch.tensor([-100]), d[1:]]) for d in documents])[None]
    _, packed = gradients_of(model, input_ids=ids, position_ids=positions, labels=labels)
    total, apart, count = 0, {}, (labels != -100).sum()
    model.zero_grad()
    for document in documents:
        if len(document) > 1:
            total = total + model(document[None], labels=document[None], num_items_in_batch=count, use_cache=False).loss
    total.backward()
    apart = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    expect("gradients of documents", max(relative(packed[name], apart[name]) for name in apart), 2e-4)


def check_training(model):
    ids = torch.stack([ids_of(model, 80, 20 + i) for i in range(2)])
    loss, plain = gradients_of(model, input_ids=ids, labels=ids)
    logits = model(ids).logits[:, :-1]
    expect("loss", abs(loss / torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).item() - 1),
           1e-5)
    assert set(plain) == {name for name, _ in model.named_parameters()}, "parameters without a gradient"
    model.train()
    for reentrant in (False, True):
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
        again, found = gradients_of(model, input_ids=ids, labels=ids)
        model.gradient_checkpointing_disable()
        model.disable_input_require_grads()
        expect("gradient checkpointing", max(relative(found[name], plain[name]) for name in plain), 1e-5)
        assert abs(again - loss) < 1e-5
    model.eval()


def check_saved(build, directory, model, work):
    out = os.path.join(work, "saved")
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out, max_shard_size="2MB")
    ids = ids_of(model, 50)
    expected = model(ids[None]).logits[0]
    assert torch.equal(load(out)(ids[None]).logits[0], expected), "saved and loaded: other logits"
    expect("saved, by the program", relative(ours(build, out, ids.tolist()), expected), 1e-4)
    config = AutoConfig.from_pretrained(directory, trust_remote_code=True)
    again = pickle.loads(pickle.dumps(config))
    assert again.to_dict() == config.to_dict() and copy.deepcopy(config).to_dict() == config.to_dict()
    fresh = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    assert all(p.isfinite().all() for p in fresh.parameters()) and fresh(ids[None]).logits.isfinite().all()
    narrow = load(directory, dtype=torch.bfloat16)
    kept = {name.rsplit(".", 1)[1] for name, p in narrow.named_parameters() if p.dtype == torch.float32}
    assert kept <= {"A_log", "D", "dt_bias"}, kept
    p, q = (m.log_softmax(-1).float() for m in (expected, narrow(ids[None]).logits[0].float()))
    expect("bfloat16: kl", (p.exp() * (p - q)).sum(-1).mean().item(), 2e-2)
    step = narrow.generate(ids[None], max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert step.shape[1] > len(ids)
    from transformers import DynamicCache
    for wrong in (dict(cache=DynamicCache()), dict(attention_mask=torch.ones(1, 1, 50, 50)),
                  dict(attention_mask=torch.ones(1, 49)), dict(output_attentions=True),
                  dict(position_ids=torch.arange(49)[None])):
        try:
            model(ids[None], **wrong)
        except ValueError:
            continue
        raise AssertionError(f"not refused: {wrong}")
    print("  saved, narrow and refusals   as they should be", flush=True)


def teacher_as(family, model, out):
    """The transformer itself in a hybrid's format, which convert writes only with a layer replaced."""
    written, config = out + ".written", {}
    run(os.environ["PROGRAM"], "convert", model, "--layers", 0, "--kind", "m2" if family == "apriel-h1" else
        "window:1000000", "--format", family, "-o", written)
    shutil.copytree(written, out)
    if family == "apriel-h1":
        config = json.load(open(f"{written}/config.json"))
        config["hybrid_block_layout"] = ["t"] * config["num_hidden_layers"]
        config.pop("ssm_cfg")
        json.dump(config, open(f"{out}/config.json", "w"))
        shutil.copy(f"{model}/model.safetensors", out)


def check(build, model, work):
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    os.environ["PROGRAM"] = program = f"{build}/apriel-tool"
    layers = json.load(open(f"{model}/config.json"))["num_hidden_layers"]
    half = ",".join(str(i) for i in range(0, layers, 2))
    made = []
    for family in ("apriel-h1", "apriel2"):
        teacher_as(family, model, f"{work}/{family}-none")
        made.append(f"{family}-none")
        for name, replaced in (("one", layers // 2), ("half", half), ("all", f"0-{layers - 1}")):
            run(program, "convert", model, "--layers", replaced, "--kind", "m2", "--format", family, "-o",
                f"{work}/{family}-{name}", "--seed", 5)
            made.append(f"{family}-{name}")
    for name, steps in (("gdn", (("gdn", half),)), ("window", (("window:16", half),)),
                        ("mixed", (("gdn", "1"), ("window:7", "1,2"), ("m2", "1,2,4")))):
        before = []
        for i, (kind, replaced) in enumerate(steps):
            out = f"{work}/apriel2-{name}" + ("" if i + 1 == len(steps) else f".{i}")
            run(program, "convert", model, "--layers", replaced, "--kind", kind, "--format", "apriel2", "-o", out, *before)
            before = ["--from", out]
        made.append(f"apriel2-{name}")
    for name in os.environ.get("ONLY", " ".join(made)).split():
        directory = f"{work}/{name}"
        print(name, flush=True)
        hybrid = load(directory)
        with torch.no_grad():
            ids = ids_of(hybrid, 150)
            expect("logits", relative(hybrid(ids[None]).logits[0], ours(build, directory, ids.tolist())), 1e-4)
            check_greedy(build, directory, hybrid)
            if name.split("-")[-1] in ("one", "none") and layers > 20:
                continue
            check_chunks(hybrid)
            check_padding(hybrid)
            check_saved(build, directory, hybrid, work)
        check_documents(hybrid)
        check_training(hybrid)


def train(golden, demo, build, work):
    """The layer's mixer, from the golden tensors, on the golden batches: reverse KL against the demo model."""
    import torch.nn.functional as F
    from safetensors.torch import load_file

    program = f"{build}/apriel-tool"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    teacher = AutoModelForCausalLM.from_pretrained(demo, dtype=torch.float32).eval()
    for name, kind, start in (("mmr", "m2", "published"), ("mmr-m2-fitted", "m2", "improved"), ("mmr-gdn", "gdn", None)):
        with open(os.path.join(golden, f"demo-llama-2.6m{'' if name == 'mmr' else '.' + name}.json")) as file:
            document = json.load(file)
        probes = document.get("mmr", document)["probes"]
        tensors = load_file(os.path.join(golden, f"demo-llama-2.6m.{name}.safetensors"))
        for layer in (0, 5, 11):
            directory = f"{work}/{name}-{layer}"
            run(program, "convert", demo, "--layers", layer, "--kind", kind, *(["--init", start] if start else []),
                "--format", "apriel2", "-o", directory)
            model = load(directory)
            mixer = model.model.blocks[layer].mixer
            initial = {key.split(".", 2)[2]: value for key, value in tensors.items()
                       if key.startswith(f"layer.{layer}.") and ".check." not in key}
            with torch.no_grad():
                for key, parameter in mixer.named_parameters():
                    value = golden_tensor(initial, key)
                    # stored halved, so what AdamW adds to it counts twice: half the rate
                    parameter.copy_(value.view_as(parameter) / (2 if key == "dt_proj.bias" else 1))
            if kind == "gdn":
                mixer.norm.epsilon = 1e-6  # the golden mixer's
            model.requires_grad_(False)
            mixer.requires_grad_(True)
            bias = [p for key, p in mixer.named_parameters() if key == "dt_proj.bias"]
            rest = [p for key, p in mixer.named_parameters() if key != "dt_proj.bias"]
            groups = [{"params": rest, "lr": 1e-3}] + ([{"params": bias, "lr": 5e-4}] if bias else [])
            optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, weight_decay=0)
            expected = next(p for p in probes if p["layer"] == layer and p.get("align", "paper") == "paper")["losses"]
            worst = 0
            for step in range(10):
                ids = tensors["tokens"][step].long()
                with torch.no_grad():
                    t = teacher(ids).logits.log_softmax(-1)
                s = model(ids, use_cache=False).logits.log_softmax(-1)
                loss = (s.exp() * (s - t)).sum(-1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                worst = max(worst, abs(loss.item() / expected[step] - 1))
            expect(f"{name}, layer {layer}: losses", worst, 1e-2)


def golden_tensor(initial, key):
    """By our names; the golden Gated DeltaNet has the stock class's."""
    if key in initial:
        return initial[key]
    parts = {"in_proj_qkvz.weight": ("in_proj_qkv.weight", "in_proj_z.weight"),
             "in_proj_ba.weight": ("in_proj_b.weight", "in_proj_a.weight"), "convolution.weight": ("conv1d.weight",)}
    return torch.cat([initial[part] for part in parts[key]])


if __name__ == "__main__":
    globals()[{"check": "check", "train": "train"}[sys.argv[1]]](*sys.argv[2:])
