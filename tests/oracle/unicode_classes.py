"""What the tokenizers library's classes hold beyond PCRE2's: src/tokenizer/regex_unicode_table.h.

    python3 tests/oracle/unicode_classes.py >src/tokenizer/regex_unicode_table.h
    python3 tests/oracle/unicode_classes.py --golden >tests/data/tokenizers/classes.json

Asks both libraries about every code point: Oniguruma through tokenizers' Split, libpcre2-8 through
ctypes, which must be one with Unicode 14 (10.40 to 10.42; a newer one knows some of the rest itself).
--golden writes, for tests/test_regex.c, how many characters tokenizers has in each class, and a SHA-256 of
which: "41-5a,61-7a," and so on.
"""
import argparse
import ctypes
import hashlib
import json
import sys

from tokenizers import Regex, pre_tokenizers

CATEGORIES = ("L Lu Ll Lt Lm Lo LC M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So "
              "Z Zs Zl Zp C Cc Cf Co Cn").split()
BINARY = "Alphabetic Uppercase Lowercase Ideographic Emoji".split()
SCRIPTS = ("Arabic Armenian Bengali Bopomofo Braille Cherokee Common Cyrillic Devanagari Ethiopic Georgian "
           "Greek Gujarati Gurmukhi Han Hangul Hebrew Hiragana Inherited Kannada Katakana Khmer Lao Latin "
           "Malayalam Mongolian Myanmar Oriya Sinhala Syriac Tamil Telugu Thai Tibetan").split()
ESCAPES = [r"\w", r"\W", r"\d", r"\D", r"\s", r"\S", r"\h", r"\H", r"[\W_]", r"[^\W]", r"[\P{L}a]", r"[^\P{N}]",
           r"[\D\P{Lu}]", r"[^\s\p{L}\p{N}]", r"\P{Mn}", r"\p{^Lo}", r"[^\H\S]", r"[\p{Mn}\p{Nd}]", r"[^\p{Cn}x]",
           r"\p{Alpha}", r"\p{Upper}", r"\p{Word}", r"\p{Digit}", r"\p{Punct}", r"\p{Letter}", r"\p{Number}"]
POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
TEXT = "".join(map(chr, POINTS))
BYTES = TEXT.encode()
LIBRARY = ctypes.CDLL("libpcre2-8.so.0")
UTF, UCP, DOTALL, NO_UTF_CHECK, UNICODE_VERSION = 0x80000, 0x20000, 0x20, 0x40000000, 10


def of_tokenizers(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    left = bytearray(len(POINTS))
    for _, (start, end) in split.pre_tokenize_str(TEXT):
        left[start:end] = b"\x01" * (end - start)
    return {point for point, other in zip(POINTS, left) if not other}


def prepare():
    void, size = ctypes.c_void_p, ctypes.c_size_t
    LIBRARY.pcre2_compile_8.restype = LIBRARY.pcre2_match_data_create_8.restype = void
    LIBRARY.pcre2_compile_8.argtypes = [ctypes.c_char_p, size, ctypes.c_uint32, ctypes.POINTER(ctypes.c_int),
                                        ctypes.POINTER(size), void]
    LIBRARY.pcre2_match_data_create_8.argtypes = [ctypes.c_uint32, void]
    LIBRARY.pcre2_match_8.argtypes = [void, ctypes.c_char_p, size, size, ctypes.c_uint32, void, void]
    LIBRARY.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(size)
    LIBRARY.pcre2_get_ovector_pointer_8.argtypes = [void]
    version = ctypes.create_string_buffer(64)
    LIBRARY.pcre2_config_8(UNICODE_VERSION, version)
    if version.value != b"14.0.0":
        sys.exit(f"libpcre2-8 has Unicode {version.value.decode()}, not 14")


def of_pcre2(name):
    pattern, error, where = f"\\p{{{name}}}+".encode(), ctypes.c_int(), ctypes.c_size_t()
    code = LIBRARY.pcre2_compile_8(pattern, len(pattern), UTF | UCP | DOTALL, ctypes.byref(error),
                                   ctypes.byref(where), None)
    if not code:
        sys.exit(f"libpcre2-8 has no {name}")
    data, found, at = LIBRARY.pcre2_match_data_create_8(2, None), set(), 0
    while LIBRARY.pcre2_match_8(code, BYTES, len(BYTES), at, NO_UTF_CHECK, data, None) > 0:
        ends = LIBRARY.pcre2_get_ovector_pointer_8(data)
        found.update(map(ord, BYTES[ends[0]:ends[1]].decode()))
        at = ends[1]
    return found


def ranges(points):
    out = []
    for point in sorted(points):
        if out and out[-1][1] == point - 1:
            out[-1][1] = point
        else:
            out.append([point, point])
    return out


def written(points):
    text = "".join(f"\\\\x{{{a:x}}}" + (f"-\\\\x{{{b:x}}}" if b > a else "") for a, b in ranges(points))
    lines, width = [], 80
    while len(text) > width:
        cut = text.rfind("\\\\x", 0, width)
        if text[cut - 1] == "-":
            cut -= 1
        lines.append(text[:cut])
        text = text[cut:]
    return "\n     ".join(f'"{line}"' for line in lines + [text])


def write_table():
    prepare()
    print("/* Made by tests/oracle/unicode_classes.py: what classes of Unicode 16, as Oniguruma has them, hold")
    print(" * more and less than those of Unicode 14, as PCRE2 10.40 to 10.42 has them. */")
    print("/* clang-format off */")
    for name in CATEGORIES + BINARY + SCRIPTS:
        theirs = of_tokenizers(f"\\p{{{name}}}")
        ours = of_pcre2("sc:" + name if name in SCRIPTS else name)
        if theirs != ours:
            print(f'    {{"{name}",\n     {written(theirs - ours)},\n     {written(ours - theirs)}}},', flush=True)


def write_golden():
    classes = ESCAPES + [f"\\p{{{name}}}" for name in CATEGORIES + BINARY + SCRIPTS]
    lines = []
    for pattern in classes:
        points = of_tokenizers(pattern)
        text = "".join(f"{a:x}-{b:x}," for a, b in ranges(points))
        lines.append(json.dumps([pattern, len(points), hashlib.sha256(text.encode()).hexdigest()]))
    print("[" + ",\n".join(lines) + "]")


parser = argparse.ArgumentParser()
parser.add_argument("--golden", action="store_true")
write_golden() if parser.parse_args().golden else write_table()
