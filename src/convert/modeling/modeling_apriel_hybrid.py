"""Hybrids of attention and recurrent mixers, as apriel-tool writes them (apriel-h1 and apriel2).

    AutoModelForCausalLM.from_pretrained(DIRECTORY, trust_remote_code=True)

Plain PyTorch: runs, trains and generates on a CPU. On CUDA the kernels of mamba_ssm and causal_conv1d
are taken where they are installed and apply. Made for transformers 5 (tried with 5.24).

Mixers: attention (with a sliding window where one is given: the last W tokens, the present one
included), Mamba ("m2") and Gated DeltaNet. B batch, T tokens, C channels, H heads.

Padding may stand on any side: a token that attention_mask leaves out changes nothing for the others.
Documents that lie end to end in a row are kept apart where position_ids begin anew, or as seq_idx
[B, T] or cu_seqlens (cu_seq_lens_q) [documents + 1] say; this holds for whole rows, without a cache of
earlier tokens. Labels are not masked at boundaries: that is the data collator's part.

The checkpoints hold half of the bias of dt_proj, which is added twice: once in the linear layer and once
inside the scan, as the published runtimes do.
"""
import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

try:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
except ImportError:
    selective_scan_fn = None
try:
    from causal_conv1d import causal_conv1d_fn
except ImportError:
    causal_conv1d_fn = None

# What newer versions of transformers call "cache" was "past_key_values".
CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


# ---- what a config says, in one form for both formats


def rope_frequencies(rope, head_dim):
    """The inverse frequencies (a list of head_dim / 2 numbers) and the factor on cosine and sine."""
    kind, theta = rope["kind"], rope["theta"]
    frequencies = [theta ** (-2 * i / head_dim) for i in range(head_dim // 2)]
    if kind == "default":
        return frequencies, 1.0
    factor, original = rope["factor"], rope.get("original")
    if kind == "linear":
        return [f / factor for f in frequencies], 1.0
    if kind == "llama3":
        low, high = rope["low"], rope["high"]
        scaled = []
        for f in frequencies:
            turns = original * f / (2 * math.pi)
            blend = min(max((turns - low) / (high - low), 0), 1)
            scaled.append((1 - blend) * f / factor + blend * f)
        return scaled, 1.0

    def dimension(turns):
        return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(rope["beta_fast"]), dimension(rope["beta_slow"])
    if rope["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001
    scaled = []
    for i, f in enumerate(frequencies):
        stretch = min(max((i - low) / (high - low), 0), 1)
        scaled.append(f / factor * stretch + f * (1 - stretch))
    return scaled, rope["attention_factor"]


def check_rope(kind, known):
    if kind not in known:
        raise ValueError(f'rope type "{kind}" is not supported ({", ".join(known)})')


def yarn_mscale(factor, mscale=1.0):
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def rope_of_transformers(config):
    """rope_theta and rope_scaling, or rope_parameters, as transformers spells them."""
    rules = getattr(config, "rope_scaling", None) or getattr(config, "rope_parameters", None) or {}
    kind = rules.get("rope_type", rules.get("type", "default"))
    check_rope(kind, ("default", "linear", "llama3", "yarn"))
    theta = rules.get("rope_theta", getattr(config, "rope_theta", None)) or 10000.0
    rope = {"kind": kind, "theta": float(theta)}
    if kind == "default":
        return rope
    longest = getattr(config, "max_position_embeddings", None)
    original = getattr(config, "original_max_position_embeddings", None)
    rope["original"] = original or rules.get("original_max_position_embeddings") or longest
    factor = rules.get("factor")
    rope["factor"] = float(factor) if factor else longest / rope["original"]
    rope["low"], rope["high"] = rules.get("low_freq_factor"), rules.get("high_freq_factor")
    rope["beta_fast"], rope["beta_slow"] = rules.get("beta_fast") or 32, rules.get("beta_slow") or 1
    truncate = rules.get("truncate")
    rope["truncate"] = True if truncate is None else truncate
    usual, mscale, all_dim = yarn_mscale(rope["factor"]), rules.get("mscale"), rules.get("mscale_all_dim")
    if mscale and all_dim:
        usual = yarn_mscale(rope["factor"], mscale) / yarn_mscale(rope["factor"], all_dim)
    stated = rules.get("attention_factor")
    rope["attention_factor"] = usual if stated is None else stated
    return rope


def rope_of_fast_llm(rotary):
    kind = rotary["type"]
    check_rope(kind, ("mistral_1d", "default", "linear", "llama3", "yarn"))
    factor = float(rotary.get("scale_factor", 8.0))
    stated = rotary.get("attention_factor")
    return {
        "kind": "default" if kind == "mistral_1d" else kind,
        "theta": float(rotary["theta"]),
        "factor": factor,
        "original": rotary.get("original_context_length", 8192),
        "low": rotary.get("low_frequency_factor", 1.0),
        "high": rotary.get("high_frequency_factor", 4.0),
        "beta_fast": rotary.get("beta_fast", 32.0),
        "beta_slow": rotary.get("beta_slow", 1.0),
        "truncate": rotary.get("truncate", True),
        "attention_factor": yarn_mscale(factor) if stated is None else stated,
    }


@dataclasses.dataclass(frozen=True)
class AttentionSizes:
    heads: int
    kv_heads: int
    head_dim: int
    window: int | None
    biases: tuple  # of query, key, value and output projection
    norms: tuple | None  # epsilons of the query and key norms
    rope: dict
    dropout: float = 0.0


@dataclasses.dataclass(frozen=True)
class MambaSizes:
    d_inner: int
    d_xb: int
    d_state: int
    d_conv: int
    dt_rank: int
    bias: bool
    conv_bias: bool
    dt_proj_bias: bool


@dataclasses.dataclass(frozen=True)
class DeltaSizes:
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    d_conv: int
    epsilon: float


@dataclasses.dataclass(frozen=True)
class BlockSizes:
    mixer: AttentionSizes | MambaSizes | DeltaSizes
    name: str  # of the mixer in its block
    intermediate: int
    mlp_bias: bool
    epsilon: float


def mamba_sizes(values, state, bias, hidden):
    """Of either format's keys; `state` and `bias` are the names of two that differ."""
    rank = values.get("dt_rank", "auto")
    if not values.get("repeat_kv_before_conv", True):
        raise ValueError('"repeat_kv_before_conv": false is not supported')
    return MambaSizes(
        d_inner=values.get("d_inner") or int(values.get("expand", 1) * hidden),
        d_xb=values.get("d_xb") or hidden,
        d_state=values[state],
        d_conv=values.get("d_conv", 4),
        dt_rank=math.ceil(hidden / 16) if rank == "auto" else rank,
        bias=bool(values.get(bias, False)),
        conv_bias=values.get("conv_bias", True),
        dt_proj_bias=values.get("dt_proj_bias", True),
    )


class AprielHybridSSMConfig(PretrainedConfig):
    """Apriel-H1: Mistral's keys, "hybrid_block_layout" (t or m2 for each layer) and "ssm_cfg"."""

    model_type = "apriel_hybrid_ssm"
    keys_to_ignore_at_inference = [CACHE]

    def __init__(
        self,
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=None,
        hidden_act="silu",
        max_position_embeddings=4096 * 32,
        initializer_range=0.02,
        rms_norm_eps=1e-6,
        use_cache=True,
        sliding_window=4096,
        attention_dropout=0.0,
        hybrid_block_layout=None,
        ssm_cfg=None,
        tie_word_embeddings=False,
        **kwargs,
    ):
        # kept as the file spells them: transformers would rename them
        rope = {key: kwargs.pop(key) for key in ("rope_theta", "rope_scaling", "rope_parameters") if key in kwargs}
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads or num_attention_heads
        self.head_dim = head_dim or hidden_size // num_attention_heads
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.use_cache = use_cache
        self.sliding_window = sliding_window
        self.attention_dropout = attention_dropout
        self.hybrid_block_layout = hybrid_block_layout or ["t"] * num_hidden_layers
        self.ssm_cfg = ssm_cfg
        for key, value in (rope or {"rope_theta": 10000.0}).items():
            setattr(self, key, value)

    def blocks(self):
        if self.hidden_act not in ("silu", "swish"):
            raise ValueError(f'"hidden_act" is "{self.hidden_act}"; only silu is supported')
        layout = self.hybrid_block_layout
        layout = layout * self.num_hidden_layers if len(layout) == 1 else layout
        if len(layout) != self.num_hidden_layers or not set(layout) <= {"t", "m2"}:
            raise ValueError(f'"hybrid_block_layout" must be t or m2 for {self.num_hidden_layers} layers: {layout}')
        attention = AttentionSizes(
            heads=self.num_attention_heads, kv_heads=self.num_key_value_heads, head_dim=self.head_dim,
            window=self.sliding_window, biases=(False,) * 4, norms=None, rope=rope_of_transformers(self),
            dropout=self.attention_dropout)
        mamba = mamba_sizes(self.ssm_cfg, "d_state", "bias", self.hidden_size) if "m2" in layout else None
        return [
            BlockSizes(mixer=attention if kind == "t" else mamba, name="self_attn" if kind == "t" else "mixer",
                       intermediate=self.intermediate_size, mlp_bias=False, epsilon=self.rms_norm_eps)
            for kind in layout
        ]

    @property
    def final_epsilon(self):
        return self.rms_norm_eps


class Apriel2TextConfig(PretrainedConfig):
    """Apriel2: a decoder of named blocks, in Fast-LLM's terms. What is derived from it are properties, so that
    a file that is saved again has no key that Fast-LLM would refuse."""

    model_type = "apriel2_text"
    keys_to_ignore_at_inference = [CACHE]

    def __init__(self, hidden_size=4096, vocab_size=32000, decoder=None, embeddings=None, head=None,
                 tie_word_embeddings=False, use_cache=True, initializer_range=0.02, **kwargs):
        derived = {key for key in kwargs if isinstance(getattr(type(self), key, None), property)}
        super().__init__(tie_word_embeddings=tie_word_embeddings,
                         **{key: value for key, value in kwargs.items() if key not in derived})
        self.initializer_range = initializer_range
        self.hidden_size = hidden_size
        self.vocab_size = vocab_size
        norm = {"type": "rms_norm", "epsilon": 1e-5}
        self.decoder = decoder or {"type": "fixed", "num_blocks": 0, "block": {}}
        self.embeddings = embeddings or {}
        self.head = head or {"normalization": norm}
        self.use_cache = use_cache

    def get_text_config(self, *_, **__):
        return self  # "decoder" is no configuration of its own

    def block(self, layer):
        if self.decoder.get("type", "fixed") == "fixed":
            return self.decoder["block"]
        pattern = self.decoder["pattern"]
        return self.decoder["blocks"][pattern[layer % len(pattern)]]

    def blocks(self):
        return [self.block_sizes(self.block(layer)) for layer in range(self.num_hidden_layers)]

    def block_sizes(self, block):
        mlp, norm = block["mlp"], block.get("normalization", {})
        for key in ("pre_mixer_normalization", "pre_mlp_normalization", "post_mixer_normalization",
                    "post_mlp_normalization", "output_scale"):
            if block.get(key):
                raise ValueError(f'a block with "{key}" is not supported')
        if mlp.get("type", "mlp") != "mlp" or not mlp.get("gated") or mlp.get("activation") not in ("silu", "swish"):
            raise ValueError("only a gated MLP with silu is supported")
        return BlockSizes(mixer=self.mixer_sizes(block["mixer"]), name="mixer", intermediate=mlp["intermediate_size"],
                          mlp_bias=has_bias(mlp, "layer_1"), epsilon=norm_epsilon(norm))

    def mixer_sizes(self, mixer):
        kind = mixer["type"]
        if kind == "attention":
            norms = [mixer.get(key) for key in ("query_norm", "key_norm")]
            if any(norms) != all(norms):
                raise ValueError('"query_norm" and "key_norm" must both be there or both be left out')
            layers = ("query_layer", "key_layer", "value_layer", "dense_layer")
            return AttentionSizes(
                heads=mixer["heads"], kv_heads=mixer["head_groups"], head_dim=mixer["head_size"],
                window=mixer.get("window_size"), biases=tuple(has_bias(mixer, layer) for layer in layers),
                norms=tuple(norm_epsilon(norm) for norm in norms) if all(norms) else None,
                rope=rope_of_fast_llm(mixer["rotary"]))
        if kind == "mamba":
            state = "state_size" if "state_size" in mixer else "d_state"
            return mamba_sizes(mixer, state, "add_linear_biases", self.hidden_size)
        if kind == "gdn":
            return DeltaSizes(key_heads=mixer["key_heads"], value_heads=mixer["value_heads"],
                              key_dim=mixer["key_head_dim"], value_dim=mixer["value_head_dim"],
                              d_conv=mixer["convolution_layer"]["kernel_size"], epsilon=mixer.get("norm_eps", 1e-5))
        raise ValueError(f'mixer type "{kind}" is not supported (attention, mamba or gdn)')

    @property
    def num_hidden_layers(self):
        return self.decoder["num_blocks"]

    def attention(self, key, otherwise=None):
        """One size of the first block with attention."""
        for layer in range(self.num_hidden_layers):
            mixer = self.block(layer)["mixer"]
            if mixer["type"] == "attention":
                return mixer[key]
        return otherwise

    @property
    def num_attention_heads(self):
        return self.attention("heads", 1)

    @property
    def num_key_value_heads(self):
        return self.attention("head_groups", 1)

    @property
    def head_dim(self):
        return self.attention("head_size", self.hidden_size)

    @property
    def intermediate_size(self):
        return self.block(0)["mlp"]["intermediate_size"]

    @property
    def max_position_embeddings(self):
        return self.embeddings.get("max_position_embeddings", 2048)

    @property
    def final_epsilon(self):
        return norm_epsilon(self.head["normalization"])


def has_bias(owner, layer):
    enabled = ((owner.get(layer) or {}).get("bias") or {}).get("enabled")
    return owner.get("add_linear_biases", False) if enabled is None else enabled


def norm_epsilon(norm):
    if norm.get("type", "rms_norm") != "rms_norm" or norm.get("zero_centered"):
        raise ValueError("only rms_norm that is not zero-centred is supported")
    return norm.get("epsilon", 1e-5)


# ---- what generation keeps


class HybridCache(Cache):
    """For each layer a dict of tensors whose first dimension is the sequence: keys and values [B, G, S, E], or
    the convolution's last inputs [B, K - 1, C] and a state. And which of the tokens so far count."""

    def __init__(self, n_layers):
        self.layers = [{} for _ in range(n_layers)]
        self.layer_class_to_replicate = None
        self.offloading = False
        self.valid = None  # [B, S]
        self.length = 0

    def get_seq_length(self, layer_idx=0):
        return self.length

    def get_query_offset(self, layer_idx=0):
        return self.length

    def get_mask_sizes(self, query_length, layer_idx=0):
        return self.length + query_length, 0

    def get_max_length(self):
        return -1

    def get_max_cache_shape(self, layer_idx=0):
        return -1

    def __len__(self):
        return len(self.layers)

    def change(self, function):
        for layer in self.layers:
            for name in layer:
                layer[name] = function(layer[name])
        if self.valid is not None:
            self.valid = function(self.valid)

    def reorder_cache(self, beam_idx):
        self.change(lambda tensor: tensor.index_select(0, beam_idx.to(tensor.device)))

    def batch_repeat_interleave(self, repeats):
        self.change(lambda tensor: tensor.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices):
        self.change(lambda tensor: tensor[indices.to(tensor.device), ...])

    def reset(self):
        self.layers = [{} for _ in self.layers]
        self.valid, self.length = None, 0

    def crop(self, *_):
        raise ValueError("this cache cannot go back: recurrent mixers and windows keep no earlier states")

    def activate_past_recording(self):
        pass

    is_croppable = property(lambda self: False)
    is_compileable = property(lambda self: False)
    is_initialized = property(lambda self: self.length > 0)
    is_linear = property(lambda self: [False] * len(self.layers))
    is_sliding = property(lambda self: [False] * len(self.layers))
    is_dummy = property(lambda self: [False] * len(self.layers))
    max_batch_size = property(lambda self: self.batch_size)
    batch_size = property(lambda self: -1 if self.valid is None else self.valid.shape[0])


# ---- what all layers share in one forward pass


class Tokens:
    """Positions, padding and documents of the tokens [B, T] of a pass, behind those of a cache.

    valid [B, S]: which tokens count, those of the cache first, or None: all do. slot [B, S]: how many that
    count stand before. segment [B, T] or None: the number of the document, in a pass without a past.
    order [B, T] or None: where to take tokens from so that those that count come first, for mixers that
    go through them in turn. counts [B]: how many do."""

    def __init__(self, hidden, attention_mask, position_ids, seq_idx, cu_seqlens, cache):
        rows, tokens = hidden.shape[:2]
        device, past = hidden.device, cache.length if cache is not None else 0
        mask = self.new_mask(attention_mask, rows, tokens, past)
        before = cache.valid if past else None
        if before is not None and before.shape[0] != rows:
            raise ValueError(f"the cache has {before.shape[0]} sequences, the tokens have {rows}")
        now = torch.ones(rows, tokens, dtype=torch.bool, device=device) if mask is None else mask.to(device)
        everything = now if before is None else torch.cat([before, now], dim=1)
        if cache is not None:
            cache.valid, cache.length = everything, past + tokens
        self.past, self.tokens = past, tokens
        self.slot = everything.cumsum(1) - 1
        self.valid = None if bool(everything.all()) else everything
        # a window may forget by place where nothing that counts is followed by padding
        self.regular = self.valid is None or not bool((everything[:, :-1] & ~everything[:, 1:]).any())
        self.now, self.order = (None, None) if bool(now.all()) else (now, None)
        self.counts = now.sum(1)
        if self.now is not None:
            order = torch.sort((~now).to(torch.uint8), dim=1, stable=True).indices
            self.order, self.back = order, torch.argsort(order, dim=1)
        self.positions = self.slot[:, past:].clamp(min=0) if position_ids is None else position_ids.to(device)
        if self.positions.dim() != 2 or self.positions.shape[1] != tokens:
            raise ValueError(f"position_ids must be [batch, {tokens}], not {list(self.positions.shape)}")
        self.segment = self.find_segments(rows, seq_idx, cu_seqlens, position_ids is not None)
        if self.segment is not None and position_ids is None:
            self.restart_positions()
        self.starts = None if self.segment is None else self.find_starts(self.pack(self.segment))
        self.masks, self.rotations = {}, {}

    @staticmethod
    def new_mask(mask, rows, tokens, past):
        """Of the new tokens; None: all count."""
        if mask is None:
            return None
        if not isinstance(mask, torch.Tensor) or mask.dim() != 2:
            raise ValueError("attention_mask must be [batch, tokens], 1 for tokens that count and 0 for padding")
        if mask.shape[0] != rows or mask.shape[1] not in (tokens, past + tokens):
            raise ValueError(f"attention_mask is {list(mask.shape)} for {rows} rows of {past} + {tokens} tokens")
        return mask[:, -tokens:].bool()

    @staticmethod
    def find_starts(segment):
        first = torch.zeros_like(segment[:, :1], dtype=torch.bool)
        return torch.cat([first, segment[:, 1:] != segment[:, :-1]], dim=1)

    def find_segments(self, rows, seq_idx, cu_seqlens, stated):
        if self.past or self.tokens == 1:
            return None
        device = self.slot.device
        if seq_idx is not None:
            segment = seq_idx.to(device).expand(rows, self.tokens).long()
        elif cu_seqlens is not None:
            ends = cu_seqlens.to(device).long()[1:].contiguous()
            places = torch.arange(rows * self.tokens, device=device)
            segment = torch.searchsorted(ends, places, right=True).view(rows, self.tokens)
        elif stated:
            positions = self.pack(self.positions.expand(rows, self.tokens))
            breaks = positions[:, 1:] != positions[:, :-1] + 1
            if self.now is not None:
                breaks = breaks & self.pack(self.now)[:, 1:]
            segment = F.pad(breaks.long().cumsum(1), (1, 0))
            segment = self.unpack(segment)
        else:
            return None
        return segment if bool((segment != segment[:, :1]).any()) else None

    def restart_positions(self):
        packed = self.pack(self.segment)
        place = torch.arange(self.tokens, device=packed.device).expand_as(packed)
        first = torch.where(self.find_starts(packed), place, torch.zeros_like(place)).cummax(1).values
        self.positions = self.unpack(place - first)

    def pack(self, x):
        """[B, T, ..] with the tokens that count first."""
        return x if self.order is None else take(x, self.order)

    def unpack(self, x):
        return x if self.order is None else take(x, self.back)

    def silence(self, x):
        """Packed [B, T, ..] with zeros where nothing counts."""
        if self.order is None:
            return x
        place = torch.arange(self.tokens, device=x.device)
        counts = (place < self.counts[:, None]).view(*x.shape[:2], *[1] * (x.dim() - 2))
        return torch.where(counts, x, torch.zeros_like(x))

    def rotation(self, frequencies, factor, dtype):
        """cos and sin [B, 1, T, E]."""
        key = (frequencies, factor, dtype)
        if key not in self.rotations:
            inverse = torch.tensor(frequencies, dtype=torch.float32, device=self.positions.device)
            angles = self.positions[:, None, :, None].float() * inverse
            angles = torch.cat([angles, angles], dim=-1)
            self.rotations[key] = (angles.cos() * factor).to(dtype), (angles.sin() * factor).to(dtype)
        return self.rotations[key]

    def mask(self, window, keys):
        """What may be seen of the last `keys` tokens, [B or 1, 1, T, keys]; None: all that is not later."""
        if window is not None and window >= self.past + self.tokens:
            window = None
        if self.valid is None and self.segment is None and window is None and (self.tokens == 1 or not self.past):
            return None
        if (window, keys) not in self.masks:
            slot = self.slot if self.valid is not None or self.segment is not None else self.slot[:1]
            query, key = slot[:, self.past :, None], slot[:, None, slot.shape[1] - keys :]
            seen = key <= query
            if window is not None:
                seen = seen & (query - key < window)
            if self.segment is not None:
                seen = seen & (self.segment[:, :, None] == self.segment[:, None, :])
            if self.valid is not None:
                seen = seen & self.valid[:, None, self.valid.shape[1] - keys :]
                # padding sees itself: a row without anything would be NaN
                here = torch.arange(keys - self.tokens, keys, device=seen.device)[:, None]
                seen = seen | (here == torch.arange(keys, device=seen.device))
            self.masks[window, keys] = seen[:, None]
        return self.masks[window, keys]


def take(x, order):
    index = order.view(*order.shape, *[1] * (x.dim() - 2)).expand(*order.shape, *x.shape[2:])
    return x.gather(1, index)


# ---- layers


class HybridRMSNorm(nn.Module):
    def __init__(self, width, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * wide.to(x.dtype)


class HybridMLP(nn.Module):
    def __init__(self, hidden, block):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, block.intermediate, bias=block.mlp_bias)
        self.up_proj = nn.Linear(hidden, block.intermediate, bias=block.mlp_bias)
        self.down_proj = nn.Linear(block.intermediate, hidden, bias=block.mlp_bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


class HybridAttention(nn.Module):
    def __init__(self, hidden, sizes):
        super().__init__()
        self.sizes = sizes
        frequencies, self.factor = rope_frequencies(sizes.rope, sizes.head_dim)
        self.frequencies = tuple(frequencies)
        inner, shared = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
        self.q_proj = nn.Linear(hidden, inner, bias=sizes.biases[0])
        self.k_proj = nn.Linear(hidden, shared, bias=sizes.biases[1])
        self.v_proj = nn.Linear(hidden, shared, bias=sizes.biases[2])
        self.o_proj = nn.Linear(inner, hidden, bias=sizes.biases[3])
        if sizes.norms:
            self.q_norm = HybridRMSNorm(sizes.head_dim, sizes.norms[0])
            self.k_norm = HybridRMSNorm(sizes.head_dim, sizes.norms[1])

    def heads_of(self, x):
        return x.view(*x.shape[:2], -1, self.sizes.head_dim)

    def forward(self, u, tokens, kept):
        sizes = self.sizes
        q, k, v = (self.heads_of(project(u)) for project in (self.q_proj, self.k_proj, self.v_proj))
        if sizes.norms:
            q, k = self.q_norm(q), self.k_norm(k)
        cos, sin = tokens.rotation(self.frequencies, self.factor, u.dtype)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if kept is not None:
            if "keys" in kept:
                k, v = torch.cat([kept["keys"], k], dim=2), torch.cat([kept["values"], v], dim=2)
            first = k.shape[2] - sizes.window + 1 if sizes.window and tokens.regular else 0
            kept["keys"], kept["values"] = (x[:, :, max(first, 0) :] for x in (k, v))
        mask = tokens.mask(sizes.window, k.shape[2])
        repeats = sizes.heads // sizes.kv_heads
        mixed = F.scaled_dot_product_attention(
            q, k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1), attn_mask=mask,
            dropout_p=sizes.dropout if self.training else 0.0, is_causal=mask is None and tokens.tokens > 1)
        return self.o_proj(mixed.transpose(1, 2).reshape(*u.shape[:2], -1))


def repeat_heads(x, width, repeats):
    """[B, T, C] as heads of `width` channels, each repeated in place."""
    heads = x.view(*x.shape[:2], -1, width)
    return (heads if repeats == 1 else heads.repeat_interleave(repeats, dim=2)).flatten(2)


def convolve(x, conv, tokens, history, repeat=None):
    """A causal depthwise convolution with SiLU over [B, T, C], packed, behind the history [B, K - 1, C].
    `repeat` widens the channels before it. Returns the output and the history that follows."""
    taps = conv.weight.shape[-1]
    if history is None:
        history = x.new_zeros(x.shape[0], taps - 1, x.shape[2])
        fresh = True
    else:
        history, fresh = history.to(x.dtype), False
    wide = torch.cat([history, x], dim=1)
    place = tokens.counts[:, None] + torch.arange(taps - 1, device=x.device)
    after = take(wide, place)
    if repeat:
        x, wide = repeat(x), repeat(wide)
    weight = conv.weight.to(x.dtype)
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    if causal_conv1d_fn is not None and x.is_cuda and fresh and tokens.starts is None and 2 <= taps <= 4:
        y = causal_conv1d_fn(x.transpose(1, 2).contiguous(), weight.squeeze(1), bias, activation="silu")
        return y.transpose(1, 2), after
    if tokens.starts is None:
        y = F.conv1d(wide.transpose(1, 2), weight, bias, groups=wide.shape[2]).transpose(1, 2)
        return F.silu(y), after
    document = F.pad(tokens.starts.long().cumsum(1), (taps - 1, 0), value=-1)
    length, y = x.shape[1], 0 if bias is None else bias
    for tap in range(taps):
        same = document[:, tap : tap + length] == document[:, taps - 1 :]
        y = y + wide[:, tap : tap + length] * same[..., None] * weight[:, 0, tap]
    return F.silu(y), after


def scan_chunk(state, x, dt, a, b, c, starts):
    """x, dt [B, L, S, P], a [S, P, N], b, c [B, L, S, N], state [B, S, P, N] -> y [B, L, S, P], state."""
    decay = torch.exp(dt[..., None] * a)
    value = (dt * x)[..., None] * b[..., None, :]
    if starts is not None:
        decay = decay.masked_fill(starts[:, :, None, None, None], 0)
    step, length = 1, x.shape[1]
    while step < length:  # each element: what the 2 * step tokens up to it do
        value = torch.cat([value[:, :step], value[:, step:] + decay[:, step:] * value[:, :-step]], dim=1)
        decay = torch.cat([decay[:, :step], decay[:, step:] * decay[:, :-step]], dim=1)
        step *= 2
    states = value + decay * state[:, None]
    return (states * c[..., None, :]).sum(-1), states[:, -1]


def in_chunks(function, state, length, arrays, chunk):
    """Go through `arrays` (each [B, T, ..] or None) chunk by chunk with a state; in training, what a chunk
    computes is not kept but computed again for its gradient."""
    outputs = []
    for first in range(0, length, chunk):
        part = [None if x is None else x[:, first : first + chunk] for x in arrays]
        if torch.is_grad_enabled() and length > chunk:
            y, state = checkpoint(function, state, *part, use_reentrant=False)
        else:
            y, state = function(state, *part)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


class HybridMamba(nn.Module):
    CHUNK = 32

    def __init__(self, hidden, sizes):
        super().__init__()
        self.sizes = sizes
        inner, shared = sizes.d_inner, sizes.d_xb
        self.in_proj = nn.Linear(hidden, 2 * (inner + shared), bias=sizes.bias)
        self.dt_in_proj = nn.Linear(hidden, sizes.dt_rank, bias=sizes.bias)
        self.dt_proj = nn.Linear(sizes.dt_rank, inner, bias=sizes.dt_proj_bias)
        self.conv1d = nn.Conv1d(inner, inner, sizes.d_conv, groups=inner, bias=sizes.conv_bias)
        self.A_log = nn.Parameter(torch.empty(inner, sizes.d_state, dtype=torch.float32))
        self.D = nn.Parameter(torch.ones(inner, dtype=torch.float32))
        self.out_proj = nn.Linear(inner, hidden, bias=sizes.bias)

    def initial(self):
        """Parameter and value, where the usual random numbers will not do."""
        states = torch.arange(1, self.sizes.d_state + 1, dtype=torch.float32, device=self.A_log.device)
        yield self.A_log, states.log().expand_as(self.A_log)
        yield self.D, torch.ones_like(self.D)
        if self.dt_proj.bias is not None:
            dt = torch.logspace(-3, -1, self.sizes.d_inner, device=self.A_log.device)
            yield self.dt_proj.bias, (dt + torch.log(-torch.expm1(-dt))) / 2

    def forward(self, u, tokens, kept):
        sizes, u = self.sizes, tokens.pack(u)
        inner, shared, states = sizes.d_inner, sizes.d_xb, sizes.d_state
        repeats = inner // shared
        z, x, b, c = self.in_proj(u).split([inner, shared, shared, inner], dim=-1)
        dt = F.linear(self.dt_in_proj(u), self.dt_proj.weight).float()
        if self.dt_proj.bias is not None:
            dt = dt + 2 * self.dt_proj.bias.float()
        # a token that does not count takes no time and brings nothing
        dt, x = tokens.silence(F.softplus(dt)), tokens.silence(x)
        kept = {} if kept is None else kept
        state = kept.get("state")
        x, kept["conv"] = convolve(x, self.conv1d, tokens, kept.get("conv"),
                                   lambda v: repeat_heads(v, states, repeats))
        y, kept["state"] = self.scan(x.float(), dt, repeat_heads(b, states, repeats).float(), c.float(), tokens,
                                     state, want_state=tokens.keeps)
        y = (y + x.float() * self.D.float()) * F.silu(z.float())
        return tokens.unpack(self.out_proj(y.to(u.dtype)))

    def scan(self, x, dt, b, c, tokens, state, want_state):
        rows, length, inner = x.shape
        n = self.sizes.d_state
        a = -torch.exp(self.A_log.float())
        if selective_scan_fn is not None and x.is_cuda and state is None and tokens.starts is None:
            out = selective_scan_fn(
                *(v.transpose(1, 2).contiguous() for v in (x, dt)), a,
                *(v.view(rows, length, -1, n).permute(0, 2, 3, 1).contiguous() for v in (b, c)),
                return_last_state=want_state)
            y, last = out if want_state else (out, None)
            return y.transpose(1, 2), None if last is None else last.view(rows, -1, n, n)
        heads = [v.view(rows, length, -1, n) for v in (x, dt, b, c)]
        if state is None:
            state = x.new_zeros(rows, inner // n, n, n)
        a = a.view(-1, n, n)

        def chunk(state, x, dt, b, c, starts):
            return scan_chunk(state, x, dt, a, b, c, starts)

        y, state = in_chunks(chunk, state, length, [*heads, tokens.starts], self.CHUNK)
        return y.flatten(2), state


def delta_chunk(state, q, k, v, beta, g, document):
    """q, k [B, L, H, DK], v [B, L, H, DV], beta, g [B, L, H], document [B, L] or None, state [B, H, DK, DV].
    With the decays G of the chunk up to each token, the corrections u of all its tokens solve a unit lower
    triangular system; a token's output is what it reads of the old state and of the corrections so far."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    beta, total = beta.transpose(1, 2)[..., None], g.transpose(1, 2).cumsum(-1)
    length = q.shape[2]
    later = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    if document is not None:
        first = document[:, :1]  # the state before belongs to it, or is zero
        later = (later | (document[:, :, None] != document[:, None, :]))[:, None]
    between = (total[..., :, None] - total[..., None, :]).masked_fill(later, -math.inf).exp()
    before = total.exp()[..., None]
    if document is not None:
        before = before * (document == first)[:, None, :, None]
    lower = (beta * between * (k @ k.transpose(-1, -2))).tril(-1)
    right = beta * (v - before * (k @ state))
    u = torch.linalg.solve_triangular(lower, right, upper=False, unitriangular=True)
    y = before * (q @ state) + (between * (q @ k.transpose(-1, -2))) @ u
    left = between[..., -1, :, None]
    state = before[..., -1:, :] * state + (left * k).transpose(-1, -2) @ u
    return y.transpose(1, 2), state


class HybridGatedDeltaNet(nn.Module):
    CHUNK = 64

    def __init__(self, hidden, sizes):
        super().__init__()
        self.sizes = sizes
        keys, inner = sizes.key_heads * sizes.key_dim, sizes.value_heads * sizes.value_dim
        convolved = 2 * keys + inner
        self.in_proj_qkvz = nn.Linear(hidden, convolved + inner, bias=False)
        self.in_proj_ba = nn.Linear(hidden, 2 * sizes.value_heads, bias=False)
        self.convolution = nn.Conv1d(convolved, convolved, sizes.d_conv, groups=convolved, bias=False)
        self.dt_bias = nn.Parameter(torch.ones(sizes.value_heads, dtype=torch.float32))
        self.A_log = nn.Parameter(torch.empty(sizes.value_heads, dtype=torch.float32))
        self.norm = HybridRMSNorm(sizes.value_dim, sizes.epsilon)
        self.out_proj = nn.Linear(inner, hidden, bias=False)

    def initial(self):
        yield self.dt_bias, torch.ones_like(self.dt_bias)
        heads = torch.arange(1, self.sizes.value_heads + 1, dtype=torch.float32, device=self.A_log.device)
        yield self.A_log, (16 * heads / self.sizes.value_heads).log()

    def forward(self, u, tokens, kept):
        sizes, u = self.sizes, tokens.pack(u)
        keys, inner, heads = sizes.key_heads * sizes.key_dim, sizes.value_heads * sizes.value_dim, sizes.value_heads
        x, z = self.in_proj_qkvz(u).split([2 * keys + inner, inner], dim=-1)
        beta, step = self.in_proj_ba(u).float().split([heads, heads], dim=-1)
        beta = tokens.silence(beta.sigmoid())
        g = tokens.silence(-torch.exp(self.A_log.float()) * F.softplus(step + self.dt_bias.float()))
        kept = {} if kept is None else kept
        state = kept.get("state")
        x, kept["conv"] = convolve(tokens.silence(x), self.convolution, tokens, kept.get("conv"))
        q, k, v = x.float().split([keys, keys, inner], dim=-1)
        q, k = (self.normal(vector) for vector in (q, k))
        v = v.reshape(*v.shape[:2], heads, sizes.value_dim)
        if state is None:
            state = v.new_zeros(v.shape[0], heads, sizes.key_dim, sizes.value_dim)
        document = None if tokens.starts is None else tokens.starts.long().cumsum(1)
        y, kept["state"] = self.mix(state, q * sizes.key_dim**-0.5, k, v, beta, g, document)
        gate = F.silu(z.float()).view_as(y)
        y = (self.norm(y) * gate).flatten(2)
        return tokens.unpack(self.out_proj(y.to(u.dtype)))

    def normal(self, x):
        """Of length one for each head, repeated for the value heads."""
        x = x.view(*x.shape[:2], -1, self.sizes.key_dim)
        x = x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)
        return x.repeat_interleave(self.sizes.value_heads // self.sizes.key_heads, dim=2)

    def mix(self, state, q, k, v, beta, g, document):
        length, chunk = q.shape[1], self.CHUNK
        if document is None:
            return in_chunks(delta_chunk, state, length, [q, k, v, beta, g, None], chunk)
        outputs, last = [], document[:, :1]
        for first in range(0, length, chunk):  # the state is that of the token before: no other document reads it
            part = [x[:, first : first + chunk] for x in (q, k, v, beta, g, document)]
            same = (part[-1][:, :1] == last)[:, :, None, None]
            y, state = in_chunks(delta_chunk, state * same, part[0].shape[1], part, chunk)
            outputs.append(y)
            last = part[-1][:, -1:]
        return torch.cat(outputs, dim=1), state


MIXERS = {AttentionSizes: HybridAttention, MambaSizes: HybridMamba, DeltaSizes: HybridGatedDeltaNet}


class HybridBlock(nn.Module):
    def __init__(self, hidden, block):
        super().__init__()
        self.input_layernorm = HybridRMSNorm(hidden, block.epsilon)
        self.mixer_name = block.name
        setattr(self, block.name, MIXERS[type(block.mixer)](hidden, block.mixer))
        self.post_attention_layernorm = HybridRMSNorm(hidden, block.epsilon)
        self.mlp = HybridMLP(hidden, block)

    def forward(self, h, tokens, kept=None):
        h = h + getattr(self, self.mixer_name)(self.input_layernorm(h), tokens, kept)
        return h + self.mlp(self.post_attention_layernorm(h))


# ---- models


class HybridPreTrainedModel(PreTrainedModel):
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["HybridBlock"]
    _skip_keys_device_placement = [CACHE]
    _keep_in_fp32_modules_strict = [r"mixer\.A_log$", r"mixer\.D$", r"mixer\.dt_bias$"]
    _supports_sdpa = True
    _is_stateful = True

    def _init_weights(self, module):
        super()._init_weights(module)
        values = module.initial() if hasattr(module, "initial") else ()
        if isinstance(module, HybridRMSNorm):
            values = [(module.weight, torch.ones_like(module.weight))]
        for parameter, value in values:
            if not getattr(parameter, "_is_hf_initialized", False):
                parameter.data.copy_(value)


class HybridModel(HybridPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, getattr(config, "pad_token_id", None))
        self.set_blocks(nn.ModuleList(HybridBlock(config.hidden_size, block) for block in config.blocks()))
        self.norm = HybridRMSNorm(config.hidden_size, config.final_epsilon)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def set_input_embeddings(self, value):
        self.embed_tokens = value

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, cache=None, inputs_embeds=None,
                use_cache=None, output_attentions=None, output_hidden_states=None, return_dict=None, seq_idx=None,
                cu_seqlens=None, past_key_values=None, **kwargs):
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if output_attentions:
            raise ValueError("output_attentions is not supported: attention weights are never computed as a whole")
        h = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        cache = past_key_values if cache is None else cache
        if use_cache is None:
            use_cache = getattr(self.config, "use_cache", True) and not self.training
        if self.gradient_checkpointing and self.training:
            use_cache = False
        if cache is not None and not isinstance(cache, HybridCache):
            raise ValueError(f"the cache must be a HybridCache of this model, not {type(cache).__name__}")
        if use_cache and cache is None:
            cache = HybridCache(len(self.blocks))
        documents = kwargs.get("cu_seq_lens_q") if cu_seqlens is None else cu_seqlens
        tokens = Tokens(h, attention_mask, position_ids, seq_idx, documents, cache)
        tokens.keeps = cache is not None
        states = [h]
        for i, block in enumerate(self.blocks):
            if self.gradient_checkpointing and self.training:
                h = self._gradient_checkpointing_func(block.__call__, h, tokens)
            else:
                h = block(h, tokens, cache.layers[i] if cache is not None else None)
            states.append(h)
        h = self.norm(h)
        output = BaseModelOutputWithPast(last_hidden_state=h, **{CACHE: cache},
                                         hidden_states=(*states[:-1], h) if output_hidden_states else None)
        return output.to_tuple() if return_dict is False else output


class HybridForCausalLM(HybridPreTrainedModel, GenerationMixin):
    def __init__(self, config):
        super().__init__(config)
        self.model = self.model_class(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def set_input_embeddings(self, value):
        self.model.embed_tokens = value

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        if generation_config.cache_implementation not in (None, "dynamic"):
            raise ValueError(f'cache_implementation "{generation_config.cache_implementation}" is not supported')
        if generation_config.use_cache is not False and model_kwargs.get(CACHE) is None:
            model_kwargs[CACHE] = HybridCache(len(self.model.blocks))

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, cache=None, inputs_embeds=None,
                labels=None, use_cache=None, output_attentions=None, output_hidden_states=None, return_dict=None,
                logits_to_keep=0, seq_idx=None, cu_seqlens=None, past_key_values=None, **kwargs):
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, cache=cache,
            inputs_embeds=inputs_embeds, use_cache=use_cache, output_attentions=output_attentions,
            output_hidden_states=output_hidden_states, seq_idx=seq_idx, cu_seqlens=cu_seqlens,
            past_key_values=past_key_values, **kwargs)
        h = output.last_hidden_state
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(h[:, kept, :] if not isinstance(logits_to_keep, int) or logits_to_keep else h)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        output = CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: getattr(output, CACHE)},
                                        hidden_states=output.hidden_states)
        return output.to_tuple() if return_dict is False else output


TIED = "lm_head.weight"
TIED = {TIED: "model.embed_tokens.weight"} if dataclasses.is_dataclass(PretrainedConfig) else [TIED]


class AprielHybridSSMModel(HybridModel):
    config_class = AprielHybridSSMConfig

    def set_blocks(self, blocks):
        self.layers = blocks

    @property
    def blocks(self):
        return self.layers


class AprielHybridSSMForCausalLM(HybridForCausalLM):
    config_class = AprielHybridSSMConfig
    model_class = AprielHybridSSMModel
    _tied_weights_keys = TIED


class Apriel2TextModel(HybridModel):
    config_class = Apriel2TextConfig

    def set_blocks(self, blocks):
        self.decoder = nn.ModuleDict({"blocks": blocks})

    @property
    def blocks(self):
        return self.decoder["blocks"]


class Apriel2ForCausalLM(HybridForCausalLM):
    config_class = Apriel2TextConfig
    model_class = Apriel2TextModel
    _tied_weights_keys = TIED


__all__ = [
    "AprielHybridSSMConfig", "AprielHybridSSMModel", "AprielHybridSSMForCausalLM",
    "Apriel2TextConfig", "Apriel2TextModel", "Apriel2ForCausalLM", "HybridCache",
]
