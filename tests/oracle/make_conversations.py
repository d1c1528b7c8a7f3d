"""Golden rows of conversations: tests/data/conversations.json.

    python tests/oracle/make_conversations.py > tests/data/conversations.json

For templates with {% generation %} ids and masks are transformers' own
(apply_chat_template(return_assistant_tokens_mask=True)). For others the answers' places are found
here by rendering the conversation up to each answer, and a token counts when it overlaps one, by
the tokenizers library's offsets; transformers has no mask for these."""

import json
import os
import pathlib
import sys

import tokenizers
import transformers

import make_templates as forms

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATION = "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}{% else %}{{ m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
TEMPLATES = {name: forms.FORMS[name] for name in ("chatml", "llama 2", "llama 3.1", "mistral v1", "qwen 3", "qwq", "deepseek r1", "gemma 3", "falcon", "smollm 3", "vicuna")}
TEMPLATES["generation"] = GENERATION
# The last tokens of such a prompt are others once a word follows.
TEMPLATES["two blanks"] = "{% for m in messages %}{{ m.role }}:  {{ m.content }}{{ eos_token }}\\n{% endfor %}{% if add_generation_prompt %}assistant:  {% endif %}"
TEMPLATES["two blanks generation"] = "{% for m in messages %}{{ m.role }}:  {% if m.role == 'assistant' %}{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content + eos_token }}{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant:  {% endif %}"

TURNS = {
    "one": [("user", "What is 2 + 2?"), ("assistant", "It is 4.")],
    "two": [("user", "One"), ("assistant", "Two"), ("user", "Three"), ("assistant", "Four, naïvely 🙂")],
    "system": [("system", "Be brief."), ("user", " Hi "), ("assistant", "Yes."), ("user", "Why?"), ("assistant", "So.")],
    "thoughts": [("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nb"), ("user", "c"), ("assistant", "<think>\nho\n</think>\n\nd")],
    "open": [("user", "One"), ("assistant", "Two"), ("user", "Three")],
    "blank": [("user", "x"), ("assistant", "\n\n y \n")],
}


def render(tokenizer, messages, prompt):
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)


def common(a, b):
    return len(os.path.commonprefix([a, b]))


def spans_of(tokenizer, messages, whole):
    """The answers' places, None where one is not known."""
    spans = []
    probe = render(tokenizer, [{"role": "user", "content": "Qe3vQ"}, {"role": "assistant", "content": "Ae7wA"}], False)
    mark = probe[probe.rfind("Ae7wA") + len("Ae7wA"):]
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt, after = render(tokenizer, messages[:i], True), render(tokenizer, messages[: i + 1], False)
        start, end = common(prompt, whole), common(after, whole)
        known = end == len(after) and end > start
        if known and start < len(prompt):
            before = render(tokenizer, messages[:i], False)
            known = whole.startswith(before) and start >= len(before)
        begins = known or start >= len(prompt) or (whole.startswith(render(tokenizer, messages[:i], False)) and start >= len(render(tokenizer, messages[:i], False)))
        if not known and begins and i + 1 < len(messages) and mark and mark.strip() not in message["content"]:
            # Written otherwise once a user goes on: up to what stands after answers.
            at = whole.find(mark, start)
            going_on = render(tokenizer, messages[: i + 1] + [{"role": "user", "content": "next"}], False)
            if at >= 0 and common(going_on, whole) >= at + len(mark):
                end, known = at + len(mark), True
        spans.append((start, end) if known else None)
    return spans


def entry(tokenizer, messages):
    try:
        whole = render(tokenizer, messages, False)
        if "{% generation" in tokenizer.chat_template:
            out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
            return {"ids": out["input_ids"], "mask": out["assistant_masks"], "lost": 0}
        spans = spans_of(tokenizer, messages, whole)
    except Exception as error:
        print(error, file=sys.stderr)
        return None
    answers = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    if spans[len(answers) - 1] is None:
        return None
    encoding = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    known = [span for span in spans if span]
    mask = [int(any(a < end and b > start for start, end in known)) for a, b in encoding["offset_mapping"]]
    return {"ids": encoding["input_ids"], "mask": mask, "lost": len(spans) - len(known)}


def main():
    out = []
    for name, template in TEMPLATES.items():
        demo = tokenizers.Tokenizer.from_file(str(ROOT / "recipes/demo-model/tokenizer.json"))
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=demo, chat_template=template)
        # Texts, as far as the template is concerned: the demo model has no such tokens.
        tokenizer._special_tokens_map.update(forms.TOKENS)
        rows = {}
        for key, turns in TURNS.items():
            rows[key] = entry(tokenizer, [{"role": role, "content": text} for role, text in turns])
        out.append({"name": name, "template": template, "rows": rows})
    turns = {key: [{"role": role, "content": text} for role, text in value] for key, value in TURNS.items()}
    json.dump({"tokens": forms.TOKENS, "turns": turns, "templates": out}, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
