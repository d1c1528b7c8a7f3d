"""Conversations formatted by Jinja templates, as transformers does it: tests/data/chats.json.

The templates are short ones written here in the manner of each family's published template (what
src/generate/chat.c must recognise and equal); SmolLM2's is read from the directory given."""
import json
import sys

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
LLAMA31 = """{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}{%- else %}{%- set system_message = "" %}{%- endif %}{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}{{- "Cutting Knowledge Date: December 2023\n" }}{{- "Today Date: 26 Jul 2024\n\n" }}{{- system_message }}{{- "<|eot_id|>" }}{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"""
MISTRAL_OLD = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"""
MISTRAL_NEW = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ '[SYSTEM_PROMPT]' + messages[0]['content'] + '[/SYSTEM_PROMPT]' }}{% set messages = messages[1:] %}{% endif %}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST]' + message['content'] + '[/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"""
QWEN = """{%- if tools %}{{- '<|im_start|>system\\n' }}{{- 'no tools here' }}{%- else %}{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}{%- else %}{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}{%- endif %}{%- endif %}{%- for message in messages %}{%- if message.role != 'system' %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
APRIEL = """{{- bos_token -}}{%- set reasoning_prompt='You are a thoughtful and systematic AI assistant built by ServiceNow Language Models (SLAM) lab. Before providing an answer, analyze the problem carefully and present your reasoning step by step. After explaining your thought process, provide the final solution in the following format: [BEGIN FINAL RESPONSE] ... [END FINAL RESPONSE].' -%}{%- if messages[0]['role'] != 'system' -%}{{- '<|system|>\\n' + reasoning_prompt + '\\n<|end|>\\n' -}}{%- endif -%}{%- for message in messages -%}{{- '<|' + message['role'] + '|>\\n' + message['content'] + '\\n<|end|>\\n' -}}{%- if message['role'] == 'assistant' -%}{{- eos_token -}}{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|assistant|>\\nHere are my reasoning steps:\\n' -}}{%- endif -%}"""
OTHER = "{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] + '<end_of_turn>\n' }}{% endfor %}"

CONVERSATIONS = [
    [("user", "What is 2 + 2?")],
    [("system", "Be brief."), ("user", "Hello, wörld")],
    [("user", "One"), ("assistant", "Two"), ("user", "Three")],
    [("system", "Count."), ("user", "One"), ("assistant", "Two"), ("user", "Three")],
]


def main():
    smollm2 = open(sys.argv[1] + "/chat_template.jinja").read()
    out = []
    for name, template, bos, eos in [
        ("chatml", smollm2, "<|im_start|>", "<|im_end|>"), ("chatml", QWEN, None, "<|im_end|>"),
        ("llama3", LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
        ("llama3", LLAMA31, "<|begin_of_text|>", "<|eot_id|>"),
        ("mistral", MISTRAL_OLD, "<s>", "</s>"), ("mistral", MISTRAL_NEW, "<s>", "</s>"),
        ("apriel", APRIEL, "<s>", "</s>"), (None, OTHER, "<bos>", "<eos>")]:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                    undefined=jinja2.ChainableUndefined)
        compiled = environment.from_string(template)
        texts = [compiled.render(messages=[{"role": r, "content": c} for r, c in conversation],
                                 bos_token=bos or "", eos_token=eos, add_generation_prompt=True)
                 for conversation in CONVERSATIONS]
        out.append({"name": name, "template": template, "bos_token": bos, "texts": texts})
    document = {"conversations": [[{"role": r, "content": c} for r, c in conversation]
                                  for conversation in CONVERSATIONS], "templates": out}
    with open("tests/data/chats.json", "w") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        file.write("\n")


main()
