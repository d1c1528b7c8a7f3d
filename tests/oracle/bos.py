"""The log-likelihoods of tests/data/cases/bos_choices.csv: a tokenizer that begins every text.

    pip install lm_eval==0.4.13
    python3 tests/oracle/bos.py >tests/data/cases/bos_choices.csv

lm-evaluation-harness on the demo model whose tokenizer.json puts <|endoftext|> before every text,
with its prompt of arc_easy and nothing set: since 0.4.10 it leaves the token to the tokenizer.
"""
import json
import os
import shutil
import tempfile

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEMO = os.path.join(ROOT, "recipes", "demo-model")
TOKEN = "<|endoftext|>"


def make_model(directory):
    for file in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(os.path.join(DEMO, file), directory)
    with open(os.path.join(DEMO, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    begin = {"SpecialToken": {"id": TOKEN, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing", "single": [begin, text],
        "pair": [begin, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {TOKEN: {"id": TOKEN, "ids": [0], "tokens": [TOKEN]}}}
    with open(os.path.join(directory, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(tokenizer, file)
    with open(os.path.join(directory, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": TOKEN,
                   "eos_token": TOKEN}, file)


def main():
    with open(os.path.join(ROOT, "tests", "data", "cases", "bos_items.jsonl"), encoding="utf-8") as file:
        items = [json.loads(line) for line in file]
    with tempfile.TemporaryDirectory() as directory:
        make_model(directory)
        model = HFLM(pretrained=directory, device="cpu", dtype="float32", batch_size=4)
        places = [(i, c) for i, item in enumerate(items) for c in range(len(item["choices"]["text"]))]
        requests = [Instance(request_type="loglikelihood", doc={}, idx=0,
                             arguments=(f"Question: {items[i]['question']}\nAnswer:",
                                        " " + items[i]["choices"]["text"][c])) for i, c in places]
        for (i, c), (value, _) in zip(places, model.loglikelihood(requests, disable_tqdm=True)):
            print(f"{i},{c},{float(value):.6f}")


main()
