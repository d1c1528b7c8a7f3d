"""Normal forms of every character, alone and among marks: tests/data/tokenizers/forms.json.

    python3 tests/oracle/normal_forms.py >tests/data/tokenizers/forms.json

For NFC, NFD, NFKC and NFKD and each pair of neighbours: a SHA-256 of what the tokenizers library makes of
each character between them, a newline behind each. Ideographs, most Hangul, private use and what is not
assigned above U+1FFFF are left out: there is nothing to decompose (all of Unicode was equal once).
"""
import hashlib
import json

from tokenizers import normalizers

NEIGHBOURS = [["", ""], ["", "\u0301\u0323"], ["a\u0301", "\u0323"], ["\U00011935", ""]]
POINTS = [*range(0x3400), *range(0x4DC0, 0x4E00), *range(0xA000, 0xAC80), *range(0xD780, 0xD800),
          *range(0xF900, 0x17000), *range(0x18CF0, 0x20000), *range(0x2F800, 0x2FA20)]


def main():
    rows = []
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        normalizer = getattr(normalizers, form)()
        for before, after in NEIGHBOURS:
            digest = hashlib.sha256()
            for point in POINTS:
                text = normalizer.normalize_str(before + chr(point) + after)
                digest.update(text.encode() + b"\n")
            rows.append(json.dumps([form, before, after, digest.hexdigest()]))
    print("[" + ",\n".join(rows) + "]")


main()
