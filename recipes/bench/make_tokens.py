#!/usr/bin/env python3
"""A token set of random ids: make_tokens.py FILE.h5 ROWS LENGTH [VOCABULARY]."""
import sys

import h5py
import numpy

path, rows, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
vocabulary = int(sys.argv[4]) if len(sys.argv) > 4 else 131072
with h5py.File(path, "w") as file:
    ids = numpy.random.default_rng(0).integers(0, vocabulary, rows * length, dtype=numpy.uint32)
    file["tokens"] = ids
    file["row_offsets"] = numpy.arange(rows + 1, dtype=numpy.uint64) * length
    file.attrs["format"] = "apriel-tool/tokens"
    file.attrs["version"] = numpy.uint64(1)
    file.attrs["tokenizer_sha256"] = ""
    file.attrs["vocab_size"] = numpy.uint64(vocabulary)
    file.attrs["sources"] = "random"
