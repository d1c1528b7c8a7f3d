#!/usr/bin/env python3
"""Makes tests/data/tokenizers: one small tokenizer.json a family, trained on a text, and the ids and
the decoded text that Hugging Face tokenizers gives for difficult texts.

usage: tokenizers_golden.py TEXT OUTPUT_DIRECTORY      (made with tokenizers 0.23.3)
"""
import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]

TEXTS = [
    "", " ", "  ", "\n", "a", "Hello world", " leading", "trailing   ", "Hello, World! It's 2024.",
    "I'LL don't WE'VE can'T he'd they're 'S 'tis o'clock 's", "The king's  speech\n\n\nEnter  HAMLET\t\tand\r\nGhost\r\n\r\n",
    "1234567890 3.14159 1,000,000 0x1F ½ ² ③ Ⅷ ٣٤٥ १२३ 𝟘𝟙", "x" * 70, "ab" * 30, "the" * 20 + " " * 20 + "the",
    "naïve café résumé Ångström", "nai\u0308ve cafe\u0301 A\u030angstro\u0308m q\u0323\u0307 q\u0307\u0323 \u1e9b\u0323",
    "\u1100\u1161\u11a8 한국어 각", "日本語のテキスト、中文文本。「引用」", "العربية مُشَكَّلة ١٢٣", "עברית עִבְרִית", "ไทย ภาษาไทย", "हिन्दी क्षत्रिय",
    "emoji 😀👍🏽 zwj 👨\u200d👩\u200d👧 flags 🇩🇪🇫🇷", "\u00a0nbsp\u2003em\u3000ideographic\u180emongolian\u200bzero\ufeffbom\u2028line\u0085nel",
    "\x00\x01\x1f\x7f\x80\x9f\u00ad control", "def f(x):\n    return x**2  # code\n\tif a!=b: pass\n", "!!!???...---===>>> <=> {}[]() \\n \\\\ \"q\" 'q'",
    "<|endoftext|>", "a<|endoftext|>b <|endoftext|> <|endoftext|><|endoftext|>", "<s>[INST] hi [/INST] there </s>", "<|begin_of_text|><|eot_id|>x",
    "  <left>  <right>  <both>  <word> x<word> <word>y <word>.", "<norm> é <NORM> e\u0301<norm>", "<unk> <0x41> <0xC3><0xA9> ▁ ▁▁x ▁", "▁leading metaspace", "ﬁ ligature ｆｕｌｌ ㍿ ① ﷺ",
    "\ud7ff\ue000\ufffd\uffff\U0010ffff", "ǅ ǆ Ǆ ß ẞ ſ ſt 'ſ K (kelvin) İ ı", "snake_case camelCase HTTPServer2Go ABCdef", "tab\tnbsp\u00a0\u00a0x  \n  y   \n",
    "😀" * 5, "\n" * 9 + " " * 9 + "\t" * 9 + "z", "Ünïcödé " * 2, "مرحبا " * 2, "a\u0301\u0323" * 5,
]


def byte_level(text, pre, *, normalizer=None, special=("<|endoftext|>",), ignore_merges=False, size=420):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def sentencepiece(text, size=500):
    """BPE with byte fallback, as the SentencePiece models of Llama 2 and Mistral are converted."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(vocab_size=size, special_tokens=tokens,
                                                              show_progress=False))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                           decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def as_dict(tokenizer):
    return json.loads(tokenizer.to_str())


def bos(token, number):
    return processors.TemplateProcessing(single=f"{token} $A", special_tokens=[(token, number)])


def make_families(text):
    P = pre_tokenizers
    families = {}

    gpt2 = as_dict(byte_level(text, P.ByteLevel(add_prefix_space=False)))
    gpt2["model"]["merges"] = [" ".join(pair) for pair in gpt2["model"]["merges"]]
    gpt2["model"]["continuing_subword_prefix"] = gpt2["model"]["end_of_word_suffix"] = ""
    gpt2["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    families["gpt2"] = gpt2

    tokenizer = byte_level(text, P.Sequence([P.Split(Regex(LLAMA3), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]),
                           special=("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"), ignore_merges=True)
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), bos("<|begin_of_text|>", 0)])
    llama3 = as_dict(tokenizer)
    size = len(llama3["model"]["vocab"])
    for i, word in enumerate(["Hello", "Ġworld", "ĠGhost", "123"]):  # no merge leads to these
        assert llama3["model"]["vocab"].setdefault(word, size + i) == size + i
    families["llama3"] = llama3

    qwen2 = as_dict(byte_level(text, P.Sequence([P.Split(Regex(QWEN2), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]),
                               normalizer=normalizers.NFC(), special=("<|endoftext|>", "<|im_start|>", "<|im_end|>")))
    qwen2["model"]["merges"] = [" ".join(pair) for pair in qwen2["model"]["merges"]]
    families["qwen2"] = qwen2

    families["smollm2"] = as_dict(byte_level(text, P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)]),
                                             special=("<|endoftext|>", "<|im_start|>", "<|im_end|>")))

    tokenizer = sentencepiece(text)
    tokenizer.pre_tokenizer = P.Metaspace(prepend_scheme="first", split=False)
    tokenizer.post_processor = bos("<s>", 1)
    mistral = as_dict(tokenizer)
    mistral["added_tokens"] = [t for t in mistral["added_tokens"] if t["id"] < 3]
    families["mistral"] = mistral

    llama2 = json.loads(json.dumps(mistral))
    llama2["pre_tokenizer"] = None
    llama2["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    families["llama2"] = llama2
    return families


def added(number, content, **flags):
    token = {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": False}
    return {**token, **flags}


def variants(families):
    """(family, parts that replace the family's) beyond the families as they are."""
    split = lambda pattern, behavior, invert=False: {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    metaspace = lambda scheme, cut: {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}
    sequence = lambda *parts: {"type": "Sequence", "pretokenizers": list(parts)}
    for behavior in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            yield "gpt2", {"pre_tokenizer": sequence(split({"Regex": r"\s|[.,!?]|\d"}, behavior, invert), level)}
        yield "gpt2", {"pre_tokenizer": sequence(split({"String": "e"}, behavior), level)}
    yield "gpt2", {"pre_tokenizer": sequence(split({"Regex": r"\s*"}, "Isolated"), level)}
    yield "gpt2", {"pre_tokenizer": sequence(split({"Regex": r"^\w+$|\b\w|\h{2}+|[^\S\n]+"}, "Isolated"), level)}
    yield "gpt2", {"pre_tokenizer": {**level, "add_prefix_space": True, "use_regex": True}}
    yield "gpt2", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, level)}
    yield "gpt2", {"pre_tokenizer": sequence(split({"Regex": O200K}, "Isolated"), level)}
    yield "gpt2", {"pre_tokenizer": sequence(*[split({"Regex": p}, "Isolated") for p in DEEPSEEK], level)}
    yield "gpt2", {"normalizer": {"type": "NFKC"}}
    yield "gpt2", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"},
                   {"type": "Replace", "pattern": {"Regex": r"\p{M}+"}, "content": ""}]}}
    yield "gpt2", {"normalizer": {"type": "NFKD"}, "decoder": None}
    tokens = lambda first: [added(first, "<left>", lstrip=True), added(first + 1, "<right>", rstrip=True),
                            added(first + 2, "<both>", lstrip=True, rstrip=True, special=True),
                            added(first + 3, "<word>", single_word=True), added(first + 4, "<norm> é", normalized=True),
                            added(first + 5, "  "), added(first + 6, "<norm>", normalized=True)]
    for family in ["gpt2", "qwen2", "llama2", "mistral"]:
        size = len(families[family]["model"]["vocab"])
        yield family, {"added_tokens": families[family]["added_tokens"] + tokens(size)}
    for scheme in ["always", "first", "never"]:
        for cut in [True, False]:
            yield "mistral", {"pre_tokenizer": metaspace(scheme, cut), "decoder": metaspace(scheme, cut)}
    model = families["mistral"]["model"]
    for fuse in [True, False]:
        yield "mistral", {"model": {"byte_fallback": False, "fuse_unk": fuse}}
    yield "mistral", {"model": {"byte_fallback": False, "unk_token": None}, "decoder": {"type": "ByteFallback"}}
    assert model["byte_fallback"]


def merge_parts(family, parts):
    merged = {**family, **parts}
    if "model" in parts:
        merged["model"] = {**family["model"], **parts["model"]}
    return merged


def main():
    text, out = Path(sys.argv[1]).read_text()[:200000], Path(sys.argv[2])
    families = make_families(text)
    for name, family in families.items():
        (out / f"{name}.json").write_text(json.dumps(family, ensure_ascii=False, separators=(",", ":")) + "\n")
    runs = [(name, {}, special) for name in families for special in (False, True)]
    runs += [(name, parts, False) for name, parts in variants(families)]
    texts = [t.encode("utf-16", "surrogatepass").decode("utf-16") for t in TEXTS]
    lines = []
    for name, parts, special in runs:
        tokenizer = Tokenizer.from_str(json.dumps(merge_parts(families[name], parts)))
        ids = [tokenizer.encode(t, add_special_tokens=special).ids for t in texts]
        decoded = [tokenizer.decode(i, skip_special_tokens=special) for i in ids]
        run = {"tokenizer": name, "parts": parts, "special": special, "ids": ids,
               "decoded": [None if d == t else d for d, t in zip(decoded, texts)]}
        lines.append(json.dumps(run, ensure_ascii=False, separators=(",", ":")))
    (out / "cases.json").write_text('{"texts":' + json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
                                    + ',\n"runs":[\n' + ",\n".join(lines) + "\n]}\n")


main()
