#!/usr/bin/env python3
"""Fast-LLM's own configuration classes, and Hugging Face's model classes of its tree, on our files.

Needs Python 3.12, torch, transformers, safetensors, PyYAML and einops, and a tree of
https://github.com/ServiceNow/Fast-LLM on PYTHONPATH. Nothing is computed: a CPU is enough. Packages
that only run on a GPU (mamba_ssm, causal_conv1d, fla) are stood in for where the model classes import
them.

usage:
  fast_llm_config.py yaml FILE.yaml..        GPTBaseModelConfig takes the YAML, number for number
  fast_llm_config.py import DIR..            config.json of an apriel2 or apriel-h1 directory through
                                             Fast-LLM's converter, and its tensors by name
  fast_llm_config.py same FILE.yaml DIR      the YAML and the directory describe the same decoder
  fast_llm_config.py resave DIR OUT          from_pretrained and save_pretrained (transformers 4.57:
                                             the published model classes do not load with 5)
  fast_llm_config.py config DIR OUT          the same of config.json alone (any version)
  fast_llm_config.py export DIR OUT          config.json as Fast-LLM writes it after reading DIR
"""
import glob
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import re
import sys
import types

import torch
import yaml
from safetensors import safe_open


class Stand(types.ModuleType):
    """A package that is not there: every name in it is a function that does nothing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **named: arguments[0] if arguments else None  # a decorator, too


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    roots = ("mamba_ssm", "causal_conv1d", "fla")

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in self.roots:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Stand(spec.name)

    def exec_module(self, module):
        pass


def handler(config):
    from fast_llm.models.gpt.conversion.apriel import AprielHuggingfaceCheckpointHandler
    from fast_llm.models.gpt.conversion.apriel2 import Apriel2HuggingfaceCheckpointHandler

    return {"apriel_hybrid_ssm": AprielHuggingfaceCheckpointHandler,
            "apriel2_text": Apriel2HuggingfaceCheckpointHandler}[config["model_type"]]


def read_yaml(path):
    import fast_llm.layers.ssm.config  # registers its mixers
    from fast_llm.models.gpt.config import GPTBaseModelConfig

    with open(path) as file:
        document = yaml.safe_load(file)

    def check(value, where):
        if isinstance(value, dict):
            for key, member in value.items():
                assert isinstance(key, str), f"{where}: key {key!r} is no string"
                check(member, f"{where}.{key}")
        elif isinstance(value, list):
            for i, item in enumerate(value):
                check(item, f"{where}[{i}]")
        elif isinstance(value, str):
            try:
                float(value)
            except ValueError:
                return
            raise AssertionError(f"{where}: {value!r} is a string to PyYAML")

    check(document, os.path.basename(path))
    config = GPTBaseModelConfig.from_dict(document)
    config.validate()
    return config


KEYS_OF_HF = re.compile(r"unknown key '([^']*)'")


def import_directory(directory):
    """Returns the base model's configuration. Keys that the Hugging Face class adds by itself, and
    Fast-LLM then refuses, are taken away and named: no file can do without them."""
    with open(os.path.join(directory, "config.json")) as file:
        ours = json.load(file)
    which = handler(ours)
    config = which._load_config(directory)
    added, refused = [], []
    from fast_llm_external_models.apriel_hybrid_ssm.configuration_apriel_hybrid_ssm import (
        ssm_config_default as defaults)
    import fast_llm.layers.ssm.config  # registers its mixers
    while True:
        try:
            imported = which._import_config(config)
            break
        except ValueError as error:
            found = KEYS_OF_HF.search(str(error))
            if not found:
                raise
            path = found[1].split(".")
            holder, own = config, ours
            for key in path[:-1]:
                holder, own = holder[key], own.get(key, {})
            (refused if path[-1] in own and path[-1] not in defaults else added).append(found[1])
            del holder[path[-1]]
    base = imported["base_model"] if isinstance(imported, dict) else imported.base_model
    if isinstance(base, dict):
        from fast_llm.models.gpt.config import GPTBaseModelConfig
        base = GPTBaseModelConfig.from_dict(base)
    return base, which, added, refused


def stored_names(directory):
    names = set()
    for path in glob.glob(os.path.join(directory, "*.safetensors")):
        with safe_open(path, "pt") as file:
            names |= set(file.keys())
    return names


def check_directory(directory):
    base, which, added, refused = import_directory(directory)
    base.validate()
    wanted = set()
    for converter in which.base_model_converter_class.get_converters(base):
        name = converter.export_name
        wanted |= set(name if isinstance(name, tuple) else (name,))
    found = stored_names(directory)
    print(f"{directory}: imported")
    if added:
        print(f"  refused, but written by the Hugging Face class itself: {', '.join(added)}")
    if refused:
        print(f"  REFUSED keys of ours: {', '.join(refused)}")
    for what, names in (("wanted and missing", wanted - found), ("not read", found - wanted)):
        if names:
            print(f"  tensors {what}: {', '.join(sorted(names)[:6])} ({len(names)})")
    return not (wanted - found)


def same(path, directory):
    """What differs between the decoders, defaults filled in; how weights start is no part of a
    directory."""
    def decoder(config):
        return config.decoder.to_dict(verbose=2**31)

    def compare(x, y, where):
        if where.endswith(".initialization"):
            return []
        if isinstance(x, dict) and isinstance(y, dict):
            return [difference for key in sorted(set(x) | set(y))
                    for difference in compare(x.get(key), y.get(key), f"{where}.{key}")]
        return [] if x == y else [f"{where}: {x!r} in the YAML, {y!r} in the directory"]

    return compare(decoder(read_yaml(path)), decoder(import_directory(directory)[0]), "decoder")


def export(directory, out):
    from fast_llm.models.gpt.config import GPTModelConfig

    base, which = import_directory(directory)[:2]
    config = which._export_config(GPTModelConfig.from_dict({"base_model": base.to_dict()}))
    which._save_config(out, config)


def stand_in():
    sys.meta_path.insert(0, Finder())
    import transformers.utils.import_utils as available

    for name in ("is_mamba_ssm_available", "is_causal_conv1d_available"):
        setattr(available, name, lambda: True)


def classes(directory):
    with open(os.path.join(directory, "config.json")) as file:
        kind = json.load(file)["model_type"]
    base = "fast_llm_external_models"
    if kind == "apriel2_text":
        return (f"{base}.apriel2.configuration_apriel2", "Apriel2TextConfig",
                f"{base}.apriel2.modeling_apriel2", "Apriel2ForCausalLM")
    return (f"{base}.apriel_hybrid_ssm.configuration_apriel_hybrid_ssm", "AprielHybridSSMConfig",
            f"{base}.apriel_hybrid_ssm.modeling_apriel_hybrid_ssm", "AprielHybridSSMForCausalLM")


def resave_config(directory, out):
    module, name = classes(directory)[:2]
    getattr(importlib.import_module(module), name).from_pretrained(directory).save_pretrained(out)


def resave(directory, out):
    stand_in()
    config_module, config_name, module, name = classes(directory)
    config = getattr(importlib.import_module(config_module), config_name).from_pretrained(directory)
    model, info = getattr(importlib.import_module(module), name).from_pretrained(
        directory, config=config, dtype="auto", output_loading_info=True)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[what]:
            print(f"  {what}: {sorted(info[what])[:8]}")
    model.save_pretrained(out)
    print(f"{directory}: saved again as {out}")


def main():
    what, arguments = sys.argv[1], sys.argv[2:]
    bad = 0
    if what == "yaml":
        for path in arguments:
            read_yaml(path)
            print(f"{path}: accepted")
    elif what == "import":
        for directory in arguments:
            try:
                bad += not check_directory(directory)
            except Exception as error:
                print(f"{directory}: REFUSED: {type(error).__name__}: {str(error).splitlines()[0]}")
                bad += 1
    elif what == "same":
        differences = same(*arguments)
        print(*(differences or [f"{arguments[0]} and {arguments[1]}: the same decoder"]), sep="\n")
        bad = len(differences)
    elif what == "resave":
        resave(*arguments)
    elif what == "export":
        export(*arguments)
    elif what == "config":
        resave_config(*arguments)
    else:
        sys.exit(__doc__)
    sys.exit(bad > 0)


main()
