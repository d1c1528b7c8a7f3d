#!/usr/bin/env python3
"""A Qwen3 that is nearly a language model: SmolLM2's weights in a Qwen3ForCausalLM.

Query and key norms take each head's size out, so their weights put back the root mean square of the
layer's queries and keys on a short text, times a factor of its own for each channel (seeded, log-normal
with deviation .2). Written to OUT with SmolLM2's tokenizer.

usage: qwen3_real.py SMOLLM2 OUT
"""
import os
import shutil
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

TEXT = ("The water cycle describes how water moves on, above and below the surface of the Earth. "
        "Natalia sold 48 clips in April and half as many in May: 48 / 2 = 24, 48 + 24 = 72.")
KEYS = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
        "bos_token_id", "eos_token_id", "rope_parameters")


def sizes_of(llama, tokenizer):
    """Root mean square of the outputs of every query and key projection, by name."""
    found = {}
    hooks = [module.register_forward_hook(
        lambda _, __, out, name=name: found.__setitem__(name, out.square().mean().sqrt().item()))
        for name, module in llama.named_modules() if name.endswith(("q_proj", "k_proj"))]
    with torch.no_grad():
        llama(torch.tensor([tokenizer(TEXT).input_ids]))
    for hook in hooks:
        hook.remove()
    return found


def main():
    torch.set_num_threads(1)
    source, out = sys.argv[1:3]
    llama = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    sizes = sizes_of(llama, AutoTokenizer.from_pretrained(source))
    head_dim = llama.config.hidden_size // llama.config.num_attention_heads
    config = Qwen3Config(head_dim=head_dim, **{key: getattr(llama.config, key) for key in KEYS})
    qwen3 = Qwen3ForCausalLM(config)
    missing, unexpected = qwen3.load_state_dict(llama.state_dict(), strict=False)
    assert not unexpected and len(missing) == 2 * config.num_hidden_layers, (missing, unexpected)
    generator = torch.Generator().manual_seed(21)
    with torch.no_grad():
        for name, parameter in sorted(qwen3.named_parameters()):
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                size = sizes[name.replace("_norm.weight", "_proj")]
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(size * torch.exp(0.2 * noise))
    qwen3.to(torch.bfloat16).save_pretrained(out)
    for name in os.listdir(source):
        if name.startswith("tokenizer"):
            shutil.copy(os.path.join(source, name), out)
    for name in os.listdir(out):
        os.chmod(os.path.join(out, name), 0o644)


main()
