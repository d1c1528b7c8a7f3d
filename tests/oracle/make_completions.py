"""Golden rows of prompts with completions and of preferences: tests/data/completions.json.

    python tests/oracle/make_completions.py TRL > tests/data/completions.json

TRL is a checkout of huggingface/trl. Ids and masks are those of its own trainers' preparation
(extract_prompt, and SFTTrainer._prepare_dataset with the loss on the completion), called without a model.
Where a template writes the prompt for an answer otherwise than the whole begins, which the trainer only
warns of, the completion begins where the texts part, as in TRL's apply_chat_template. The trainers end texts with eos_token, as `data --end` does; the tokenizer is the demo model's, with the
templates of make_templates.py. A row is null where the reference raises an error."""

import importlib.metadata
import json
import logging
import pathlib
import sys
import types

import datasets
import tokenizers
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, sys.argv[1])
version = importlib.metadata.version
importlib.metadata.version = lambda name: "0" if name == "trl" else version(name)

import make_templates as forms  # noqa: E402
from trl.data_utils import maybe_apply_chat_template, maybe_extract_prompt  # noqa: E402
from trl.trainer.sft_trainer import SFTTrainer  # noqa: E402

END = "<|endoftext|>"


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


TEXTS = {
    "plain": {"prompt": "The sky is", "completion": " blue."},
    "line": {"prompt": "Question: What is 2 + 2?\nAnswer:", "completion": " 4"},
    "no prompt": {"prompt": "", "completion": "Once upon a time"},
    "joined": {"prompt": "The sk", "completion": "y is blue."},
    "blank": {"prompt": "The sky is ", "completion": "blue."},
    "signs": {"prompt": "naïve 🙂", "completion": " déjà vu\n\n"},
    "newlines": {"prompt": "a\n", "completion": "\nb"},
    "chosen": {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
    "shared": {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    "shared word": {"chosen": "The sky is blue.", "rejected": "The sky is black."},
    "turns": {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: Go."},
    "shorter": {"chosen": "I do not know that.", "rejected": "I do not"},
    "accents": {"chosen": "caf\u00e9 au lait", "rejected": "caf\u00e8re"},
}
CHATS = {
    "one": {"prompt": [user("What is 2 + 2?")], "completion": [assistant("It is 4.")]},
    "system": {"prompt": [{"role": "system", "content": "Be brief."}, user(" Hi ")], "completion": [assistant("Yes.")]},
    "later": {"prompt": [user("One"), assistant("Two"), user("Three")], "completion": [assistant("Four, naïvely 🙂")]},
    "two turns": {"prompt": [user("One")], "completion": [assistant("Two"), user("Three"), assistant("Four")]},
    "blank": {"prompt": [user("x")], "completion": [assistant("\n\n y \n")]},
    "chosen": {"prompt": [user("Sky?")], "chosen": [assistant("Blue.")], "rejected": [assistant("Green.")]},
    "shared": {"chosen": [user("Sky?"), assistant("Blue.")], "rejected": [user("Sky?"), assistant("Green.")]},
    "text beside": {"prompt": "Sky?", "chosen": [user("Sky?"), assistant("Blue.")], "rejected": [user("Sky?"), assistant("Green.")]},
    "shared turns": {"chosen": [user("a"), assistant("b"), user("c"), assistant("d")], "rejected": [user("a"), assistant("b"), user("c"), assistant("e")]},
}
NAMES = ["chatml", "llama 3.1", "mistral v1", "gemma 3", "smollm 3", "vicuna", "qwen 2.5"]


def prepare(tokenizer, record):
    args = types.SimpleNamespace(dataset_num_proc=None, dataset_text_field="text", assistant_only_loss=False, max_length=None, shuffle_dataset=False, use_liger_kernel=False, truncation_mode="keep_start")
    me = types.SimpleNamespace(_tokenizer=tokenizer, chat_template=tokenizer.chat_template, completion_only_loss=True)
    # as data does without --fields: the prompt is taken out of the messages, where it is only a text beside them
    pair = maybe_extract_prompt(json.loads(json.dumps(record)))
    if "chosen" in pair:
        pair = {"prompt": pair["prompt"], "completion": pair["chosen"]}
    rows = datasets.Dataset.from_list([pair])
    row = SFTTrainer._prepare_dataset(me, rows, tokenizer, args, False, None, "t")[0]
    if isinstance(pair["prompt"], list):
        text = maybe_apply_chat_template(pair, tokenizer)
        whole = text["prompt"] + text["completion"]
        prompt = tokenizer.apply_chat_template(pair["prompt"], tokenize=False, add_generation_prompt=True)
        if not whole.startswith(prompt):
            offsets = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            mask = [int(end > len(text["prompt"])) for _, end in offsets]
            return {"ids": row["input_ids"], "mask": mask}
    return {"ids": row["input_ids"], "mask": [int(label != -100) for label in row["labels"]]}


def main():
    logging.disable(logging.WARNING)
    datasets.disable_progress_bars()
    demo = tokenizers.Tokenizer.from_file(str(ROOT / "recipes/demo-model/tokenizer.json"))
    out = []
    for name in [None] + [name for name in NAMES if name in forms.FORMS]:
        template = forms.FORMS[name] if name else None
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=demo, chat_template=template, eos_token=END)
        if template:
            tokenizer._special_tokens_map.update(forms.TOKENS)
        rows = []
        for key, record in (CHATS if name else TEXTS).items():
            try:
                row = prepare(tokenizer, record)
            except Exception as error:  # the reference's own
                print(name, key, error, file=sys.stderr)
                row = None
            rows.append({"name": key, "record": record, "row": row})
        out.append({"template": template, "rows": rows})
    json.dump({"tokens": forms.TOKENS, "end": END, "sets": out}, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


main()
