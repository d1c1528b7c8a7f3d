#!/usr/bin/env python3
"""A Qwen2 with biases that is a real language model, and golden values at SmolLM2's size.

Puts SmolLM2's weights into a Qwen2ForCausalLM with seeded query, key and value biases (standard
deviations 0.3, 0.3 and 0.02: large enough to matter, small enough to leave the model sensible),
saves it to OUT/qwen2-smol with SmolLM2's tokenizer and writes for both models golden-NAME.json
and golden-NAME.npz: float64, eager attention, one row of TOKENS tokens from each text.
  json: texts and ids, ce of each row, ce, kl, rkl and top1 of LOO (mixer) at a few layers
  npz:  ids [rows, TOKENS], logits [rows, V] of the last position
golden-ids.jsonl holds the rows as `data` takes them. Each model's own directory also gets a
golden.json with logits, which tests/test_model.c reads when GOLDEN_MODELS names OUT.

usage: qwen2_real.py SMOLLM2 OUT TEXT_DIRECTORY      (SMOLLM2 may lie in OUT)
"""
import json
import os
import shutil
import sys

import numpy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

TOKENS = 200
SOURCES = [  # file, field of a JSON record or None for plain text, record or first character
    ("wikitext2_valid.txt", None, 1000), ("tiny_shakespeare.txt", None, 5000),
    ("reasoning_olympiadbench_models.jsonl", "response", 3),
    ("thinking_long_aime2024_amc2023.jsonl", "response", 7)]
LAYERS = [0, 7, 15, 29]
SCALES = {"q_proj": 0.3, "k_proj": 0.3, "v_proj": 0.02}


def make_qwen2(source, out):
    llama = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
            "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
            "rms_norm_eps", "tie_word_embeddings", "bos_token_id", "eos_token_id",
            "rope_parameters")
    config = Qwen2Config(**{key: getattr(llama.config, key) for key in keys})
    qwen2 = Qwen2ForCausalLM(config)
    missing, unexpected = qwen2.load_state_dict(llama.state_dict(), strict=False)
    assert not unexpected and len(missing) == 3 * config.num_hidden_layers, (missing, unexpected)
    generator = torch.Generator().manual_seed(20)
    with torch.no_grad():
        for name, parameter in sorted(qwen2.named_parameters()):
            if name.endswith("bias"):
                scale = SCALES[name.split(".")[-2]]
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    qwen2.to(torch.bfloat16).save_pretrained(out)
    for name in os.listdir(source):
        if name.startswith("tokenizer") or name == "generation_config.json":
            shutil.copy(os.path.join(source, name), out)
    for name in os.listdir(out):
        os.chmod(os.path.join(out, name), 0o644)


def read_texts(directory, tokenizer):
    texts, rows = [], []
    for name, field, at in SOURCES:
        with open(os.path.join(directory, name)) as file:
            text = file.read()[at:] if field is None else json.loads(file.read().split("\n")[at])[field]
        text = text[:4000]
        ids = tokenizer(text, add_special_tokens=False).input_ids[:TOKENS]
        assert len(ids) == TOKENS, name
        texts.append(tokenizer.decode(ids))
        rows.append(ids)
    return texts, rows


class NoMixer(torch.nn.Module):
    def forward(self, hidden_states, *args, **kwargs):
        return torch.zeros_like(hidden_states), None


def log_probs(model, ids):
    return model(ids[None], use_cache=False).logits[0].log_softmax(-1)


@torch.inference_mode()
def write_golden(directory, out, name, texts, rows):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64,
                                                 attn_implementation="eager").eval()
    layers, logits, ce = model.model.layers, [], []
    sums = {layer: dict.fromkeys(("ce", "kl", "rkl", "top1"), 0.0) for layer in LAYERS}
    for row in rows:
        ids = torch.tensor(row)
        trunk = model(ids[None], use_cache=False).logits[0]
        logits.append(trunk[-1].numpy())
        trunk = trunk.log_softmax(-1)
        ce.append(-trunk[:-1].gather(1, ids[1:, None]).mean().item())
        for layer in LAYERS:
            mixer, layers[layer].self_attn = layers[layer].self_attn, NoMixer()
            branch = log_probs(model, ids)
            layers[layer].self_attn = mixer
            sums[layer]["ce"] -= branch[:-1].gather(1, ids[1:, None]).mean().item() / len(rows)
            sums[layer]["kl"] += (trunk.exp() * (trunk - branch)).sum(-1).mean().item() / len(rows)
            sums[layer]["rkl"] += (branch.exp() * (branch - trunk)).sum(-1).mean().item() / len(rows)
            agree = (branch.argmax(-1) == trunk.argmax(-1)).double().mean().item()
            sums[layer]["top1"] += agree / len(rows)
    ids = rows[0][:64]
    positions = [0, 1, 31, 63]
    few = model(torch.tensor([ids]), use_cache=False).logits[0][positions]
    with open(os.path.join(directory, "golden.json"), "w") as file:
        json.dump({"model": name, "ids": ids, "positions": positions, "logits": few.tolist()}, file)
    numpy.savez_compressed(os.path.join(out, f"golden-{name}.npz"), ids=numpy.array(rows, "int32"),
                           logits=numpy.stack(logits))
    golden = {"model": name, "texts": texts, "ids": rows, "ce": ce,
              "loo_mixer": [{"layer": layer, **sums[layer]} for layer in LAYERS]}
    with open(os.path.join(out, f"golden-{name}.json"), "w") as file:
        json.dump(golden, file)
    print(name, "ce", [round(value, 4) for value in ce], "loo", golden["loo_mixer"])


def main():
    torch.set_num_threads(1)
    source, out, text_directory = sys.argv[1:4]
    make_qwen2(source, os.path.join(out, "qwen2-smol"))
    tokenizer = AutoTokenizer.from_pretrained(source)
    texts, rows = read_texts(text_directory, tokenizer)
    with open(os.path.join(out, "golden-ids.jsonl"), "w") as file:
        for row in rows:
            file.write(json.dumps({"ids": row}) + "\n")
    write_golden(source, out, "smollm2", texts, rows)
    write_golden(os.path.join(out, "qwen2-smol"), out, "qwen2-smol", texts, rows)


main()
