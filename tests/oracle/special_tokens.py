"""Special tokens that transformers' tokenizer classes have without being told: tests/data/special_tokens.json.

    python tests/oracle/special_tokens.py > tests/data/special_tokens.json

For every class, every kind of model in config.json and both kinds of tokenizer.json, what AutoTokenizer's
special_tokens_map has of bos, eos, unk and pad."""

import json
import pathlib
import shutil
import sys
import tempfile

import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/tokenizers"
CLASSES = [None, "LlamaTokenizer", "LlamaTokenizerFast", "GPT2Tokenizer", "GPT2TokenizerFast", "Qwen2Tokenizer", "PreTrainedTokenizerFast", "GemmaTokenizer", "GPTNeoXTokenizerFast", "CohereTokenizerFast", "CodeLlamaTokenizer", "CodeGenTokenizer", "NoSuchTokenizer"]
MODELS = [None, "llama", "mistral", "qwen2", "qwen3", "gpt2", "gemma", "gemma2", "smollm3", "gpt_neox"]
NAMES = ["bos_token", "eos_token", "unk_token", "pad_token"]


def tokens(tokenizer, config, model):
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        shutil.copy(ROOT / tokenizer, directory / "tokenizer.json")
        (directory / "tokenizer_config.json").write_text(json.dumps(config))
        if model:
            (directory / "config.json").write_text(json.dumps({"model_type": model}))
        known = transformers.AutoTokenizer.from_pretrained(directory).special_tokens_map
        return {name: known[name] for name in NAMES if name in known}


def main():
    transformers.logging.set_verbosity_error()
    out = []
    for tokenizer in ("gpt2.json", "llama2.json"):
        for model in MODELS:
            for name in CLASSES:
                config = {"tokenizer_class": name} if name else {}
                for more in ({}, {"bos_token": None}, {"eos_token": "<end>"}) if model in (None, "qwen2") else ({},):
                    case = {"tokenizer": tokenizer, "model": model, "config": {**config, **more}}
                    try:
                        out.append({**case, "tokens": tokens(tokenizer, case["config"], model)})
                    except Exception as error:  # a class that cannot take such a file
                        print(case, str(error)[:100], file=sys.stderr)
    print("[" + ",\n".join(json.dumps(case) for case in out) + "]")


main()
