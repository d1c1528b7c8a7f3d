#!/usr/bin/env python3
"""A float64 reading of the checkpoint formats, written apart from the program to test it.

Loads a Hugging Face directory (Llama, Mistral, Qwen2, Qwen3) or a hybrid (apriel-h1, apriel2) and
computes logits with eager attention and a plain sequential scan, one token after the other. The
Mamba mixer is computed as the published runtimes do it: dt_proj.bias as stored is added in the
linear layer and again before the softplus. A tensor that is missing, has another shape or is left
over is an error.

usage:
  hybrid.py MODEL --teacher MODEL --ids FILE.jsonl   ce, kl, rkl, top1 (doc/ARCHITECTURE.md)
      --rows A-B: these rows only (0-based, inclusive);  --tokens N: the first N of each row
      --save-logits FILE.npz: the last position's logits of every row;  --json: with every row
  hybrid.py --self-test GOLDEN_DIRECTORY DEMO_MODEL [MODELS_DIRECTORY]
"""
import argparse
import glob
import json
import math
import os
import sys

import torch
import torch.nn.functional as F
from safetensors import safe_open

CHUNK = 256  # positions whose logits are held at once


class Tensors:
    """The tensors of a directory; remembers which were asked for."""

    def __init__(self, directory):
        self.where = {}
        index = os.path.join(directory, "model.safetensors.index.json")
        if os.path.exists(index):
            with open(index) as file:
                weight_map = json.load(file)["weight_map"]
            shards = sorted(set(weight_map.values()))
        else:
            weight_map, shards = None, ["model.safetensors"]
        for shard in shards:
            handle = safe_open(os.path.join(directory, shard), "pt")
            for name in handle.keys():
                assert name not in self.where, f"{name} is in two shards"
                assert weight_map is None or weight_map.get(name) == shard, f"{name}: index"
                self.where[name] = handle
        assert weight_map is None or set(weight_map) == set(self.where), "index names other tensors"
        present = {os.path.basename(path) for path in glob.glob(os.path.join(directory, "*.safetensors"))}
        assert present == set(shards), f"stray shards: {present - set(shards)}"
        self.left = set(self.where)

    def get(self, name, shape, dtype=None):
        assert name in self.where, f"{name} is missing"
        tensor = self.where[name].get_tensor(name)
        assert tuple(tensor.shape) == tuple(shape), f"{name}: {tuple(tensor.shape)}, not {shape}"
        assert dtype is None or tensor.dtype == dtype, f"{name}: {tensor.dtype}, not {dtype}"
        assert bool(torch.isfinite(tensor).all()), f"{name} is not finite"
        self.left.discard(name)
        return tensor.double()

    def linear(self, prefix, rows, columns, bias):
        weight = self.get(prefix + ".weight", (rows, columns))
        return weight, self.get(prefix + ".bias", (rows,)) if bias else None


def rmsnorm(x, weight, epsilon):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight


def linear(x, parameters):
    return F.linear(x, parameters[0], parameters[1])


# Rotary embedding: inverse frequencies [E/2] and the factor on cos and sin.


def rope_frequencies(rope, head_dim):
    theta, kind = rope["theta"], rope.get("kind", "default")
    inverse = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    if kind == "default":
        return inverse, 1.0
    factor = rope["factor"]
    if kind == "linear":
        return inverse / factor, 1.0
    original = rope["original"]
    if kind == "llama3":
        # https://github.com/meta-llama/llama-models: long wavelengths are divided by factor,
        # short ones kept, those between blended by how many times they fit the old context.
        turns = original * inverse / (2 * math.pi)
        blend = ((turns - rope["low"]) / (rope["high"] - rope["low"])).clamp(0, 1)
        return inverse * ((1 - blend) / factor + blend), 1.0
    if kind == "yarn":
        # arXiv 2309.00071, section 3.2, with the correction range of the authors' code.
        def dimension(turns):
            return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

        low, high = dimension(rope.get("beta_fast") or 32), dimension(rope.get("beta_slow") or 1)
        if rope.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        if low == high:
            high += 0.001
        ramp = ((torch.arange(head_dim // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
        scale = rope.get("attention_factor")
        if scale is None:
            scale = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
        return inverse * (ramp / factor + 1 - ramp), scale
    raise SystemExit(f"rotary type {kind} is not supported")


def rotate(x, rope, positions):
    """x [.., T, E]; pairs are (j, j + E/2)."""
    inverse, scale = rope
    angles = positions[:, None].double() * inverse
    cos, sin = angles.cos() * scale, angles.sin() * scale
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Attention:
    def __init__(self, tensors, prefix, hidden, shape):
        heads, groups, size = shape["heads"], shape["groups"], shape["head_dim"]
        self.shape, self.window = (heads, groups, size), shape.get("window")
        biases = shape["biases"]
        self.q = tensors.linear(prefix + ".q_proj", heads * size, hidden, biases[0])
        self.k = tensors.linear(prefix + ".k_proj", groups * size, hidden, biases[1])
        self.v = tensors.linear(prefix + ".v_proj", groups * size, hidden, biases[2])
        self.o = tensors.linear(prefix + ".o_proj", hidden, heads * size, biases[3])
        self.norms = None
        if shape.get("norms"):
            self.norms = [tensors.get(f"{prefix}.{name}_norm.weight", (size,)) for name in "qk"]
        self.rope = rope_frequencies(shape["rope"], size)
        self.epsilons = shape.get("epsilons", [shape.get("epsilon")] * 2)  # of query and key norms

    def __call__(self, u):
        heads, groups, size = self.shape
        count = u.shape[0]
        q = linear(u, self.q).view(count, heads, size)
        k = linear(u, self.k).view(count, groups, size)
        v = linear(u, self.v).view(count, groups, size)
        if self.norms:
            q, k = (rmsnorm(x, weight, epsilon)
                    for x, weight, epsilon in zip((q, k), self.norms, self.epsilons))
        positions = torch.arange(count)
        q = rotate(q.transpose(0, 1), self.rope, positions)
        k = rotate(k.transpose(0, 1), self.rope, positions)
        distance = positions[:, None] - positions[None, :]
        seen = distance >= 0
        if self.window:
            seen &= distance < self.window
        out = torch.empty(heads, count, size, dtype=torch.float64)
        for head in range(heads):
            group = head // (heads // groups)
            scores = q[head] @ k[group].T / math.sqrt(size)
            out[head] = scores.masked_fill(~seen, -math.inf).softmax(-1) @ v[:, group]
        return linear(out.transpose(0, 1).reshape(count, heads * size), self.o)


class Mamba:
    def __init__(self, tensors, prefix, hidden, shape):
        inner, xb, state = shape["d_inner"], shape["d_xb"], shape["d_state"]
        rank, taps, bias = shape["dt_rank"], shape["d_conv"], shape["bias"]
        self.shape = inner, xb, state, taps
        self.in_proj = tensors.linear(prefix + ".in_proj", 2 * inner + 2 * xb, hidden, bias)
        self.dt_in_proj = tensors.linear(prefix + ".dt_in_proj", rank, hidden, bias)
        self.dt_proj = tensors.linear(prefix + ".dt_proj", inner, rank, shape["dt_proj_bias"])
        self.conv = tensors.get(prefix + ".conv1d.weight", (inner, 1, taps))
        self.conv_bias = 0
        if shape["conv_bias"]:
            self.conv_bias = tensors.get(prefix + ".conv1d.bias", (inner,))
        self.a_log = tensors.get(prefix + ".A_log", (inner, state), shape.get("float"))
        self.d = tensors.get(prefix + ".D", (inner,), shape.get("float"))
        self.out_proj = tensors.linear(prefix + ".out_proj", hidden, inner, bias)

    def __call__(self, u):
        inner, xb, state, taps = self.shape
        count, repeat = u.shape[0], inner // xb
        z, x, b, c = linear(u, self.in_proj).split([inner, xb, xb, inner], -1)
        x = x.view(count, xb // state, state).repeat_interleave(repeat, 1).reshape(count, inner)
        b = b.view(count, xb // state, state).repeat_interleave(repeat, 1)
        c = c.view(count, inner // state, state)
        padded = torch.cat([torch.zeros(taps - 1, inner, dtype=u.dtype), x])
        x = sum(padded[j:j + count] * self.conv[:, 0, j] for j in range(taps)) + self.conv_bias
        x = F.silu(x)
        dt = linear(linear(u, self.dt_in_proj), self.dt_proj)
        if self.dt_proj[1] is not None:
            dt = dt + self.dt_proj[1]  # the second time
        dt = torch.log1p(torch.exp(-dt.abs())) + dt.clamp(min=0)
        a = -self.a_log.exp().view(inner // state, state, state)  # [sub-head, channel, N]
        memory = torch.zeros(inner // state, state, state, dtype=u.dtype)
        y = torch.empty(count, inner, dtype=u.dtype)
        for t in range(count):
            step = dt[t].view(-1, state, 1)
            drive = (dt[t] * x[t]).view(-1, state, 1) * b[t][:, None, :]
            memory = torch.exp(step * a) * memory + drive
            y[t] = (memory * c[t][:, None, :]).sum(-1).reshape(inner)
        y = (y + self.d * x) * F.silu(z)
        return linear(y, self.out_proj)


class Block:
    def __init__(self, tensors, prefix, mixer, hidden, ffn, mlp_bias, epsilon):
        self.mixer, self.epsilon = mixer, epsilon
        self.norms = [tensors.get(f"{prefix}.{name}.weight", (hidden,))
                      for name in ("input_layernorm", "post_attention_layernorm")]
        self.gate = tensors.linear(prefix + ".mlp.gate_proj", ffn, hidden, mlp_bias)
        self.up = tensors.linear(prefix + ".mlp.up_proj", ffn, hidden, mlp_bias)
        self.down = tensors.linear(prefix + ".mlp.down_proj", hidden, ffn, mlp_bias)

    def __call__(self, h):
        h = h + self.mixer(rmsnorm(h, self.norms[0], self.epsilon))
        u = rmsnorm(h, self.norms[1], self.epsilon)
        return h + linear(F.silu(linear(u, self.gate)) * linear(u, self.up), self.down)


class Model:
    """hidden(ids) [T, D] after the last norm; logits(hidden) [T, V]."""

    def __init__(self, directory):
        with open(os.path.join(directory, "config.json")) as file:
            config = json.load(file)
        self.tensors = tensors = Tensors(directory)
        architecture = config["architectures"]
        assert len(architecture) == 1
        hidden, vocab = config["hidden_size"], config["vocab_size"]
        self.embedding = tensors.get("model.embed_tokens.weight", (vocab, hidden))
        if architecture[0] == "Apriel2ForCausalLM":
            self.epsilon = config["head"]["normalization"]["epsilon"]
            self.blocks = apriel2_blocks(tensors, config)
        else:
            self.epsilon = config.get("rms_norm_eps", 1e-6)
            self.blocks = llama_blocks(tensors, config, architecture[0])
        self.norm = tensors.get("model.norm.weight", (hidden,))
        if config.get("tie_word_embeddings", False):
            self.head = self.embedding
            if "lm_head.weight" in tensors.left:
                assert torch.equal(tensors.get("lm_head.weight", (vocab, hidden)), self.head)
        else:
            self.head = tensors.get("lm_head.weight", (vocab, hidden))
        assert not tensors.left, f"left over: {sorted(tensors.left)}"

    def hidden(self, ids):
        h = self.embedding[ids]
        for block in self.blocks:
            h = block(h)
        return rmsnorm(h, self.norm, self.epsilon)

    def logits(self, hidden):
        return hidden @ self.head.T


def read_rope(config):
    rope = config.get("rope_parameters") or {
        **(config.get("rope_scaling") or {}), "rope_theta": config.get("rope_theta", 10000.0)}
    return {
        "theta": rope.get("rope_theta", config.get("rope_theta", 10000.0)),
        "kind": rope.get("rope_type", rope.get("type", "default")),
        "factor": rope.get("factor"),
        "original": rope.get("original_max_position_embeddings") or config["max_position_embeddings"],
        "low": rope.get("low_freq_factor"), "high": rope.get("high_freq_factor"),
        "beta_fast": rope.get("beta_fast"), "beta_slow": rope.get("beta_slow"),
        "attention_factor": rope.get("attention_factor"), "truncate": rope.get("truncate", True),
    }


def llama_blocks(tensors, config, architecture):
    """Llama, Mistral, Qwen2, Qwen3 and apriel-h1, whose attention blocks are Mistral's."""
    hidden, ffn, heads = (config[key] for key in
                          ("hidden_size", "intermediate_size", "num_attention_heads"))
    layers = config["num_hidden_layers"]
    bias = bool(config.get("attention_bias"))
    biases = {"LlamaForCausalLM": [bias] * 4, "Qwen2ForCausalLM": [True, True, True, False],
              "Qwen3ForCausalLM": [bias] * 4, "MistralForCausalLM": [False] * 4,
              "AprielHybridSSMForCausalLM": [False] * 4}[architecture]
    attention = dict(heads=heads, groups=config.get("num_key_value_heads") or heads,
                     head_dim=config.get("head_dim") or hidden // heads, biases=biases,
                     rope=read_rope(config), norms=architecture == "Qwen3ForCausalLM",
                     epsilon=config.get("rms_norm_eps", 1e-6))
    windows = [None] * layers
    if architecture in ("MistralForCausalLM", "AprielHybridSSMForCausalLM"):
        windows = [config.get("sliding_window")] * layers
    elif architecture.startswith("Qwen") and config.get("use_sliding_window"):
        windows = [config["sliding_window"] if i >= config["max_window_layers"] else None
                   for i in range(layers)]
    layout = ["t"] * layers
    if architecture == "AprielHybridSSMForCausalLM":
        layout = config["hybrid_block_layout"]
        assert len(layout) == layers and set(layout) <= {"t", "m2"}, layout
    mlp_bias = architecture == "LlamaForCausalLM" and bool(config.get("mlp_bias"))
    blocks = []
    for i, kind in enumerate(layout):
        prefix = f"model.layers.{i}"
        if kind == "t":
            mixer = Attention(tensors, prefix + ".self_attn", hidden,
                              {**attention, "window": windows[i]})
        else:
            ssm = config["ssm_cfg"]
            assert ssm.get("repeat_kv_before_conv", True)
            rank = ssm.get("dt_rank", "auto")
            mixer = Mamba(tensors, prefix + ".mixer", hidden, dict(
                d_inner=ssm["d_inner"], d_xb=ssm["d_xb"] or hidden, d_state=ssm["d_state"],
                d_conv=ssm.get("d_conv", 4), bias=ssm.get("bias", False),
                dt_rank=math.ceil(hidden / 16) if rank == "auto" else rank,
                conv_bias=ssm.get("conv_bias", True), dt_proj_bias=ssm.get("dt_proj_bias", True),
                float=torch.float32))
        blocks.append(Block(tensors, prefix, mixer, hidden, ffn, mlp_bias,
                            config.get("rms_norm_eps", 1e-6)))
    return blocks


def apriel2_rope(rotary):
    if rotary["type"] not in ("mistral_1d", "default"):
        print(f"note: the published Apriel2 model takes only mistral_1d, not {rotary['type']}",
              file=sys.stderr)
    return {
        "theta": rotary["theta"],
        "kind": {"mistral_1d": "default"}.get(rotary["type"], rotary["type"]),
        "factor": rotary.get("scale_factor"), "original": rotary.get("original_context_length"),
        "low": rotary.get("low_frequency_factor"), "high": rotary.get("high_frequency_factor"),
        "beta_fast": rotary.get("beta_fast"), "beta_slow": rotary.get("beta_slow"),
        "attention_factor": rotary.get("attention_factor"),
    }


def apriel2_blocks(tensors, config):
    hidden, decoder = config["hidden_size"], config["decoder"]
    config["embeddings"]["max_position_embeddings"]  # the model reads it
    blocks = []
    for i in range(decoder["num_blocks"]):
        block = decoder["block"] if decoder["type"] == "fixed" else \
            decoder["blocks"][decoder["pattern"][i % len(decoder["pattern"])]]
        prefix = f"model.decoder.blocks.{i}"
        shape, mlp = block["mixer"], block["mlp"]
        epsilon = config["head"]["normalization"]["epsilon"]  # the model uses it for every norm
        assert block["normalization"] == {"type": "rms_norm", "epsilon": epsilon}, block
        assert mlp["type"] == "mlp" and mlp["gated"] and mlp["activation"] == "silu", mlp
        assert not mlp["add_linear_biases"], "the model's gated MLP has no biases"
        if shape["type"] == "attention":
            default = shape.get("add_linear_biases", False)
            biases = []
            for name in ("query_layer", "key_layer", "value_layer", "dense_layer"):
                enabled = shape.get(name, {}).get("bias", {}).get("enabled")
                biases.append(default if enabled is None else enabled)
            norms = [shape.get(name) for name in ("query_norm", "key_norm")]
            assert all(norms) or not any(norms), norms
            mixer = Attention(tensors, prefix + ".mixer", hidden, dict(
                heads=shape["heads"], groups=shape["head_groups"], head_dim=shape["head_size"],
                biases=biases, rope=apriel2_rope(shape["rotary"]), window=shape.get("window_size"),
                norms=all(norms), epsilons=[norm["epsilon"] for norm in norms if norm]))
        else:
            assert shape["type"] == "mamba" and shape.get("repeat_kv_before_conv", True), shape
            assert shape["d_state"] == shape["state_size"], shape
            rank = shape.get("dt_rank", "auto")
            mixer = Mamba(tensors, prefix + ".mixer", hidden, dict(
                d_inner=shape["d_inner"], d_xb=shape.get("d_xb") or hidden,
                d_state=shape["state_size"], d_conv=shape.get("d_conv", 4),
                dt_rank=math.ceil(hidden / 16) if rank == "auto" else rank,
                bias=shape["add_linear_biases"], conv_bias=shape["conv_bias"],
                dt_proj_bias=shape["dt_proj_bias"], float=torch.float32))
        blocks.append(Block(tensors, prefix, mixer, hidden, mlp["intermediate_size"], False, epsilon))
    return blocks


def row_metrics(student, teacher, ids, mask=None):
    """Sums and counts over one row: {metric: (sum, count)}."""
    ids = torch.tensor(ids)
    count = len(ids)
    if mask is None:
        counted, has_next = torch.ones(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool)
    else:
        counted = torch.tensor(list(mask[1:]) + [0], dtype=torch.bool)
        has_next = counted.clone()
    has_next[-1] = False
    h_s, h_t = student.hidden(ids), teacher.hidden(ids)
    sums = dict.fromkeys(("ce", "teacher_ce", "kl", "rkl", "top1"), 0.0)
    for start in range(0, count, CHUNK):
        end = min(start + CHUNK, count)
        s = student.logits(h_s[start:end]).log_softmax(-1)
        t = teacher.logits(h_t[start:end]).log_softmax(-1)
        here, nexts = counted[start:end], has_next[start:end]
        targets = ids[(torch.arange(start, end) + 1).clamp(max=count - 1)][:, None]
        sums["ce"] -= s.gather(1, targets)[nexts].sum().item()
        sums["teacher_ce"] -= t.gather(1, targets)[nexts].sum().item()
        sums["kl"] += (t.exp() * (t - s)).sum(-1)[here].sum().item()
        sums["rkl"] += (s.exp() * (s - t)).sum(-1)[here].sum().item()
        sums["top1"] += (s.argmax(-1) == t.argmax(-1))[here].sum().item()
    last = student.logits(h_s[-1:])[0]
    counts = {name: int(has_next.sum() if "ce" in name else counted.sum()) for name in sums}
    return {name: (sums[name], counts[name]) for name in sums}, last


def read_rows(path, rows, tokens):
    with open(path) as file:
        lines = [json.loads(line) for line in file if line.strip()]
    if rows:
        first, _, last = rows.partition("-")
        lines = lines[int(first):int(last or first) + 1]
    return [(line["ids"][:tokens], (line.get("loss_mask") or line.get("mask") or [None])[:tokens])
            for line in lines]


def evaluate(options):
    student = Model(options.model)
    teacher = Model(options.teacher) if options.teacher else student
    rows, lasts = [], []
    for ids, mask in read_rows(options.ids, options.rows, options.tokens):
        metrics, last = row_metrics(student, teacher, ids, None if mask == [None] else mask)
        rows.append(metrics)
        lasts.append(last)
        print(f"row {len(rows)}: kl {metrics['kl'][0] / max(metrics['kl'][1], 1):.6f}", file=sys.stderr)
    result = {}
    for name in rows[0]:
        total, count = (sum(row[name][i] for row in rows) for i in (0, 1))
        means = torch.tensor([row[name][0] / row[name][1] for row in rows if row[name][1]],
                             dtype=torch.float64)
        error = (means.std() / len(means) ** 0.5).item() if len(means) > 1 else None
        result[name] = {"value": total / count, "stderr_of_row_means": error, "n": count}
    if options.save_logits:
        import numpy
        numpy.savez_compressed(options.save_logits, logits=torch.stack(lasts).numpy())
    if options.json:
        result["rows"] = [{name: row[name][0] / row[name][1] for name in row} for row in rows]
        print(json.dumps(result, indent=1))
    else:
        for name, entry in result.items():
            print(f"{name:10} {entry['value']:.9f}  +- {entry['stderr_of_row_means']}  n {entry['n']}")


class Golden:
    """m2_mixer.safetensors as a source of tensors: its bias is the effective one, halved here."""

    def __init__(self, path):
        self.file = safe_open(path, "pt")
        self.shape = {key: int(value) for key, value in self.file.metadata().items()}

    def get(self, name, shape, dtype=None):
        tensor = self.file.get_tensor(name)
        assert tuple(tensor.shape) == tuple(shape), name
        return tensor / 2 if name.endswith("dt_proj.bias") else tensor

    linear = Tensors.linear


def self_test(golden, demo, models):
    source = Golden(os.path.join(golden, "m2_mixer.safetensors"))
    shape = source.shape
    mixer = Mamba(source, "param", shape["hidden_size"], dict(
        d_inner=shape["heads"] * shape["head_dim"], d_xb=shape["kv_heads"] * shape["head_dim"],
        d_state=shape["d_state"], dt_rank=shape["dt_rank"], d_conv=shape["d_conv"], bias=False,
        dt_proj_bias=True, conv_bias=True))
    u, y = source.file.get_tensor("u"), source.file.get_tensor("y")
    worst = max((mixer(u[i]) - y[i]).abs().max().item() for i in range(len(u)))
    print(f"m2 mixer: largest difference {worst:.3g} (largest value {y.abs().max().item():.3g})")
    assert worst < 1e-12

    with open(os.path.join(golden, "demo-llama-2.6m.json")) as file:
        reference = json.load(file)
    model = Model(demo)
    logits = model.logits(model.hidden(torch.tensor(reference["tokens"][0])))[-1]
    expected = torch.tensor(reference["logits_first_sequence_last_position"], dtype=torch.float64)
    worst = (logits - expected).abs().max().item()
    print(f"demo model: largest difference of the last logits {worst:.3g}")
    assert worst < 2e-5
    for path in sorted(glob.glob(os.path.join(models, "*/golden.json"))) if models else []:
        with open(path) as file:
            reference = json.load(file)
        model = Model(os.path.dirname(path))
        logits = model.logits(model.hidden(torch.tensor(reference["ids"])))[reference["positions"]]
        expected = torch.tensor(reference["logits"], dtype=torch.float64)
        worst = (logits - expected).abs().max().item()
        print(f"{reference['model']}: largest difference {worst:.3g}")
        assert worst < 1e-5


def main():
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--teacher")
    parser.add_argument("--ids")
    parser.add_argument("--rows")
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--save-logits")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--self-test", nargs="+")
    options = parser.parse_args()
    with torch.inference_mode():
        if options.self_test:
            self_test(*(options.self_test + [None])[:3])
        elif options.model and options.ids:
            evaluate(options)
        else:
            parser.error("give MODEL and --ids, or --self-test")


if __name__ == "__main__":
    main()
