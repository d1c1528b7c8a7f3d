"""Digests of tensors as src/checkpoint/checkpoint.h defines them, with hashlib: the right values of
tests/test_fingerprint.c. Usage: content.py [FILE.safetensors]; without a file the test's own tensors,
whose byte i is (i * 2654435761 >> 13) mod 256."""
import hashlib
import json
import struct
import sys

CHUNK = 4 << 20


def digest(data):
    leaves = b"".join(
        hashlib.sha256(b"\0" + data[at : at + CHUNK]).digest() for at in range(0, len(data), CHUNK)
    )
    return hashlib.sha256(b"\1" + struct.pack("<Q", len(data)) + leaves).hexdigest()


if len(sys.argv) > 1:
    raw = open(sys.argv[1], "rb").read()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    for name, entry in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        print(digest(raw[8 + length + begin : 8 + length + end]), name)
else:
    for size in (1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5):
        print(size, digest(bytes((i * 2654435761 >> 13) & 255 for i in range(size))))
