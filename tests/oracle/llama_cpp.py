#!/usr/bin/env python3
"""Log-probabilities of a GGUF by llama.cpp beside the program's (development only).

Needs xllamacpp (llama.cpp as a wheel) and gguf. The GGUF is what llama.cpp's convert_hf_to_gguf.py made of
DIRECTORY with --outtype f32.

usage: llama_cpp.py BUILD DIRECTORY FILE.gguf
       llama_cpp.py pad DIRECTORY OUT     a granite-hybrid with as many heads of zeros again, as llama.cpp wants
Prints the largest difference of the next token's log-probabilities behind texts of several lengths, with RoPE
as the file says (off, in a Granite hybrid), and with granitehybrid.rope.scaling.finetuned set to true, and the
share of equal first choices.
"""
import json
import shutil
import subprocess
import sys

import gguf
import numpy
import xllamacpp

KEY = "granitehybrid.rope.scaling.finetuned"
LENGTHS = (1, 2, 5, 17, 40, 64)


def theirs(path, texts, width):
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.warmup = 256, 1, 1, False
    params.cpuparams_batch.n_threads = 1
    server, rows = xllamacpp.Server(params), []
    for ids in texts:
        answer = server.handle_completions({"prompt": ids, "n_predict": 1, "temperature": -1.0, "n_probs": width,
                                            "cache_prompt": False})
        answer = json.loads(answer) if isinstance(answer, (str, bytes)) else answer
        row = numpy.full(width, numpy.nan)
        said = answer["choices"][0]["logprobs"]  # None where the first choice ends the text
        for entry in said["content"][0]["top_logprobs"] if said else ():
            row[entry["id"]] = entry["logprob"]
        rows.append(row)
    return numpy.array(rows)


def turn_rope_on(path):
    """As the recipe's gguf-set-metadata does."""
    field = gguf.GGUFReader(path, "r+").get_field(KEY)
    before = bool(field.parts[field.data[0]][0])
    field.parts[field.data[0]][0] = True
    return before


def pad(directory, out):
    """The same function in mixers of twice the width; biases of the projections llama.cpp has none of."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(directory, out)
    with open(f"{directory}/config.json") as file:
        config = json.load(file)
    assert not config["mamba_proj_bias"] and config["mamba_n_groups"] == config["mamba_n_heads"]
    heads, inner = config["mamba_n_heads"], config["mamba_n_heads"] * config["mamba_d_head"]
    states = heads * config["mamba_d_state"]
    config.update(mamba_n_heads=2 * heads, mamba_n_groups=2 * heads, mamba_expand=2 * config["mamba_expand"])
    with open(f"{out}/config.json", "w") as file:
        json.dump(config, file)

    def double(x, *parts):
        return torch.cat([torch.cat([part, torch.zeros_like(part)]) for part in x.split(parts or [len(x)])])

    tensors = load_file(f"{directory}/model.safetensors")
    for name, x in tensors.items():
        part = name.partition(".mamba.")[2]
        if part == "in_proj.weight":
            tensors[name] = double(x, inner, inner, states, states, heads)
        elif part.startswith("conv1d"):
            tensors[name] = double(x, inner, states, states)
        elif part == "out_proj.weight":
            tensors[name] = torch.cat([x, torch.zeros_like(x)], dim=1)
        elif part:
            tensors[name] = double(x)
    save_file(tensors, f"{out}/model.safetensors", metadata={"format": "pt"})


def main():
    if sys.argv[1] == "pad":
        return pad(*sys.argv[2:])
    build, directory, path = sys.argv[1:]
    ids = [(i * i * 7 + 3 * i) % 1900 + 5 for i in range(max(LENGTHS))]
    found = subprocess.run([f"{build}/tests/print_logits", directory, *map(str, ids)], check=True, capture_output=True)
    logits = numpy.frombuffer(found.stdout, "<f4").reshape(len(ids), -1)[[n - 1 for n in LENGTHS]].astype(float)
    ours = logits - numpy.log(numpy.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(
        1, keepdims=True)
    copy = path + ".rope"
    shutil.copy(path, copy)
    print(f"{KEY} was {turn_rope_on(copy)}")
    for name, file in (("as converted", path), (f"{KEY} true", copy)):
        rows = theirs(file, [ids[:n] for n in LENGTHS], ours.shape[1])
        seen = ~numpy.isnan(rows)
        print(f"{name}: log-probabilities differ by {numpy.abs(rows - ours)[seen].max():.3g} at most ({seen.sum()} of "
              f"{rows.size}), {(numpy.nan_to_num(rows, nan=-99).argmax(1) == ours.argmax(1))[seen.any(1)].sum()} of {seen.any(1).sum()} "
              "first choices equal",
              flush=True)


if __name__ == "__main__":
    main()
