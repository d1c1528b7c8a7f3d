#!/usr/bin/env python3
"""Make the tiny random checkpoints of tests/data/models and their golden logits.

Each checkpoint is written by transformers, then read back from disk, upcast to float64 and run
with eager attention over one sequence. golden.json holds the ids, the logits at a few positions
(the ones around the window's edge among them) and, for every position that has a next token,
that token's log-probability. transformers computes RMSNorm and the rotary angles in float32 even
then, so the values are good to about 1e-6.

usage: python tests/oracle/make_models.py [DIRECTORY] [NAME...]
"""
import json
import os
import shutil
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM

TOKENS = 24
POSITIONS = [0, 5, 7, 8, 9, 15, 23]
TINY = dict(vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
            bos_token_id=0, eos_token_id=1, rms_norm_eps=1e-5, tie_word_embeddings=False)


def rope(kind="default", theta=10000.0, **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


def legacy(config):
    """Spell the rotary settings as config.json did before transformers 5."""
    rope_parameters = config.pop("rope_parameters")
    config["rope_theta"] = rope_parameters.pop("rope_theta")
    if rope_parameters["rope_type"] != "default":
        config["rope_scaling"] = rope_parameters
    config["torch_dtype"] = config.pop("dtype")


def legacy_type(config):
    """The oldest spelling: "type" for "rope_type"."""
    legacy(config)
    config["rope_scaling"]["type"] = config["rope_scaling"].pop("rope_type")


def bare(config):
    """Only what the first Llama checkpoints had; everything else is the architecture's default."""
    legacy(config)
    for key in ("head_dim", "rope_theta", "tie_word_embeddings", "attention_bias", "mlp_bias",
                "pretraining_tp", "attention_dropout"):
        config.pop(key, None)


# name -> (architecture, what differs from TINY, how it is saved)
MODELS = {
    "llama-rope-llama3": ("Llama", dict(
        num_hidden_layers=3,
        rope_parameters=rope("llama3", 1000.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=32)), {}),
    "llama-rope-llama3-legacy": ("Llama", dict(
        rope_parameters=rope("llama3", 1000.0, factor=4.0, low_freq_factor=1.0,
                             high_freq_factor=2.0, original_max_position_embeddings=24)),
        dict(spelling=legacy)),
    "llama-rope-linear-biases": ("Llama", dict(
        attention_bias=True, mlp_bias=True, rope_parameters=rope("linear", factor=4.0)),
        dict(spelling=legacy_type)),
    "llama-f16": ("Llama", dict(tie_word_embeddings=True, num_key_value_heads=4),
                  dict(dtype=torch.float16)),
    "llama-f32-bare": ("Llama", dict(num_key_value_heads=1),
                       dict(dtype=torch.float32, spelling=bare)),
    "llama-sharded": ("Llama", dict(num_hidden_layers=3), dict(max_shard_size="150KB")),
    "mistral-window": ("Mistral", dict(num_hidden_layers=3, head_dim=24, sliding_window=8,
                                       rope_parameters=rope(theta=1000.0)), {}),
    "qwen2-tied": ("Qwen2", dict(num_hidden_layers=3, num_attention_heads=6, hidden_size=96,
                                 tie_word_embeddings=True, rms_norm_eps=1e-6,
                                 rope_parameters=rope(theta=1000000.0)), {}),
    "qwen2-yarn": ("Qwen2", dict(
        rope_parameters=rope("yarn", 1000.0, factor=4.0, beta_fast=4.0, beta_slow=0.5,
                             original_max_position_embeddings=64)), {}),
    "qwen2-yarn-legacy": ("Qwen2", dict(
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
        max_position_embeddings=2048,
        rope_parameters=rope("yarn", factor=2.0, original_max_position_embeddings=1024)),
        dict(spelling=legacy_type)),
    "qwen2-window": ("Qwen2", dict(num_hidden_layers=4, intermediate_size=64,
                                   use_sliding_window=True, sliding_window=6,
                                   max_window_layers=2), {}),
    "qwen3": ("Qwen3", dict(num_hidden_layers=3, head_dim=32, rms_norm_eps=1e-6,
                            tie_word_embeddings=True, rope_parameters=rope(theta=1000000.0)), {}),
    "granite-hybrid": ("GraniteMoeHybrid", dict(
        num_hidden_layers=3, layer_types=["linear_attention", "full_attention", "linear_attention"],
        attention_bias=True, attention_multiplier=0.25, num_local_experts=0, num_experts_per_tok=0,
        shared_intermediate_size=96, position_embedding_type="rope", mamba_n_heads=8,
        mamba_d_head=16, mamba_n_groups=2, mamba_d_state=12, mamba_proj_bias=True,
        rope_parameters=rope(theta=1000.0)), {}),
    "qwen3.5": ("Qwen3_5", dict(
        num_hidden_layers=3, layer_types=["linear_attention", "full_attention", "linear_attention"],
        head_dim=32, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16,
        linear_value_head_dim=24, tie_word_embeddings=True,
        rope_parameters=rope(theta=1000.0, partial_rotary_factor=1.0)), {}),
}


def randomise(model, seed):
    """Draw weights at scales where every part of the model shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in sorted(model.named_parameters()):
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            if "norm" in name:
                value = 1 + 0.3 * noise
            elif name.endswith("bias"):
                value = 0.4 * noise
            elif tensor.dim() == 1:
                value = 0.5 * noise
            elif "embed_tokens" in name:
                value = 0.4 * noise
            elif "q_proj" in name or "k_proj" in name:
                value = 1.5 * noise / tensor.shape[1] ** 0.5
            else:
                value = noise / tensor.shape[1] ** 0.5
            tensor.copy_(value)
            if model.config.model_type == "qwen3_5_text" and "q_proj" in name:  # no output gate
                tensor.view(-1, 2, model.config.head_dim, tensor.shape[1])[:, 1] = 0


def write_model(directory, name, seed):
    kind, changes, saving = MODELS[name]
    config_class = getattr(transformers, kind + "TextConfig", None)
    config = (config_class or getattr(transformers, kind + "Config"))(**{**TINY, **changes})
    model = getattr(transformers, kind + "ForCausalLM")(config).double()
    randomise(model, seed)
    model = model.to(saving.get("dtype", torch.bfloat16))
    model.config.dtype = saving.get("dtype", torch.bfloat16)
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory, max_shard_size=saving.get("max_shard_size", "1GB"))
    generation = os.path.join(directory, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    path = os.path.join(directory, "config.json")
    with open(path) as file:
        config = json.load(file)
    if "spelling" in saving:
        saving["spelling"](config)
    with open(path, "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")
    for entry in os.listdir(directory):
        os.chmod(os.path.join(directory, entry), 0o644)


def write_golden(directory, name, seed):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64,
                                                 attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(0, model.config.vocab_size, (TOKENS,), generator=generator)
    with torch.inference_mode():
        logits = model(ids[None], use_cache=False).logits[0]
    assert logits.dtype == torch.float64 and bool(torch.isfinite(logits).all())
    log_probs = torch.log_softmax(logits, -1)
    golden = {
        "model": name,
        "made_with": f"torch {torch.__version__.split('+')[0]}, "
                     f"transformers {transformers.__version__}, float64, eager attention",
        "ids": ids.tolist(),
        "next_token_log_probs": [round(log_probs[t, ids[t + 1]].item(), 9)
                                 for t in range(TOKENS - 1)],
        "argmax": logits.argmax(-1).tolist(),
        "positions": POSITIONS,
        "logits": [[round(value, 8) for value in logits[t].tolist()] for t in POSITIONS],
    }
    with open(os.path.join(directory, "golden.json"), "w") as file:
        text = json.dumps(golden)
        file.write(text.replace(', "', ',\n"').replace("], [", "],\n[") + "\n")
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean().item()
    print(f"{name}: logits std {logits.std().item():.3f}, entropy {entropy:.3f} nats")


def main():
    torch.set_num_threads(1)
    here = os.path.dirname(os.path.abspath(__file__))
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "data", "models")
    for index, name in enumerate(MODELS):
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        directory = os.path.join(root, name)
        write_model(directory, name, 1000 + 10 * index)
        write_golden(directory, name, 1000 + 10 * index)


main()
