"""Texts of tokens that come one by one, from the tokenizers library: tests/data/tokenizers/streams.json.

    python3 tests/oracle/streams.py -o tests/data/tokenizers/streams.json
    python3 tests/oracle/streams.py --count 20000 -o streams.json; STREAMS=streams.json build/tests/test_stream

Random ids behind a random prompt, for every tokenizer there: the text is what decoding prompt and new
ids together adds to the prompt's. Byte tokens of a fallback come as whole characters, and at the end as
the beginning of one, each byte of which is U+FFFD: the library turns a whole run of bytes into U+FFFD
when its end is cut, which no program can that has already printed it.
"""
import argparse
import json
import os
import random

from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
FAMILIES = os.path.join(os.path.dirname(HERE), "data", "tokenizers")
NAMES = ["gpt2", "llama2", "llama3", "mistral", "qwen2", "smollm2"]
CHARACTERS = "é漢👍\n\t ñ€𝄞\x00"


def draw_ids(draw, size, bytes_of, count):
    ids, kept = [], 0
    while len(ids) < count:
        if bytes_of and draw.random() < 0.3:
            ids += [bytes_of[b] for b in draw.choice(CHARACTERS).encode()]
        else:
            token = draw.randrange(size)
            if token not in bytes_of.values():
                ids.append(token)
    kept = len(ids)
    if bytes_of and draw.random() < 0.3:
        character = draw.choice("é漢👍€").encode()
        ids += [bytes_of[b] for b in character[:draw.randrange(1, len(character))]]
    return ids, kept


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=40, help="sequences of each tokenizer")
    parser.add_argument("-o", required=True)
    arguments = parser.parse_args()
    draw, runs = random.Random(11), []
    for name in NAMES:
        tokenizer = Tokenizer.from_file(os.path.join(FAMILIES, name + ".json"))
        size = tokenizer.get_vocab_size()
        vocabulary = tokenizer.get_vocab()
        bytes_of = {b: vocabulary[f"<0x{b:02X}>"] for b in range(256) if f"<0x{b:02X}>" in vocabulary}
        sequences = []
        while len(sequences) < arguments.count:
            prompt, kept = draw_ids(draw, size, bytes_of, draw.randrange(0, 6))
            prompt = prompt[:kept]
            new, kept = draw_ids(draw, size, bytes_of, draw.randrange(1, 16))
            before = tokenizer.decode(prompt, skip_special_tokens=True)
            whole = tokenizer.decode(prompt + new[:kept], skip_special_tokens=True)
            if not whole.startswith(before) or before.endswith("\ufffd"):
                continue  # the prompt ends within a character
            text = whole[len(before):] + "\ufffd" * (len(new) - kept)
            sequences.append({"prompt": prompt, "new": new, "text": text})
        runs.append({"tokenizer": name, "sequences": sequences})
    with open(arguments.o, "w", encoding="utf-8") as file:
        json.dump(runs, file)
        file.write("\n")


main()
