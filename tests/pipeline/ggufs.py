"""Small GGUF files as llama.cpp's converter writes them, and the ids that such a file's own vocabulary gives a text."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import regex
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import quantize
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
SPECIAL = ["<|end|>", "<|start|>"]  # ids 0 and 1: the end and the beginning of a text
MERGES = ["t h", "th e", "Ġ the", "i n", "Ġ Ġ", "Ċ Ċ", "Ġ a", "1 2", "e r", "Ġa n", "Ġan d"]
UNMERGED = "ther"  # a token that no merge makes
TEMPLATE = "{% for m in messages %}<|start|>{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BYTES = bytes_to_unicode()

PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
RUNS = ["  ", "   ", "\n\n"]  # taken whole wherever they stand
WORDS = ["▁", *"theinrabco1", "th", "the", "▁the", "in", "▁a", "▁in", "er", "her", "▁he", "he", "▁▁t"]
SCORES = {word: -float(rank) for rank, word in enumerate(WORDS)}

TEXTS = (
    "the rain in the inn",
    "  two  spaces and   three",
    "the 12 and 2024\n\n  1. the\n\n12",
    "a<|end|>the<|start|> in\tthe",
    "é 日本 🙂 it's THE ½ ▁▁the",
    "x" + " " * 7 + "the\r\n",
)

BASE = {"vocab_size": 0, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
MLP = {"intermediate_size": 96, "max_position_embeddings": 64, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}

NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
GEMMA = {
    **NAMES,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
GPT2 = {
    "attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
}  # fmt: skip


def tokens_of(architecture: str) -> int:
    """How many tokens the vocabulary of such a file has."""
    return len(PIECES) + len(RUNS) + len(WORDS) if architecture == "gemma3" else len(SPECIAL) + 257 + len(MERGES)


def config(architecture: str, **others: Any) -> PreTrainedConfig:
    """The configuration of a small model."""
    base = {**BASE, "vocab_size": tokens_of(architecture), "bos_token_id": 1, "eos_token_id": 0}
    if architecture == "gpt2":
        return GPT2Config(vocab_size=base["vocab_size"], n_embd=64, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=0)
    if architecture == "gemma3":
        ids = {"bos_token_id": 2, "eos_token_id": 1, "head_dim": 32, "query_pre_attn_scalar": 32}
        return Gemma3TextConfig(**{**base, **MLP, **ids, "sliding_window": 8, **others})
    kind = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}[architecture]
    head_dim = 128 if architecture == "qwen3" else 16  # 128 in every Qwen3; transformers does not read it from a file
    return kind(**{**base, **MLP, "head_dim": head_dim, **others})


def model(architecture: str, **others: Any) -> PreTrainedModel:
    """A random model; norms and biases are random too, so that a mistaken one shows."""
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config(architecture, **others), dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape) * (0.3 if weight.dim() == 1 else 0.15))
    made.tie_weights()
    return made


def tensors(made: PreTrainedModel, architecture: str) -> dict[str, np.ndarray]:
    """The model's weights under the names and in the layout of a GGUF file."""
    state = {name: weight.detach().numpy() for name, weight in made.state_dict().items()}
    heads = made.config.num_attention_heads
    if architecture == "gpt2":
        found = {
            "token_embd.weight": state["transformer.wte.weight"],
            "position_embd.weight": state["transformer.wpe.weight"],
            "output_norm.weight": state["transformer.ln_f.weight"],
            "output_norm.bias": state["transformer.ln_f.bias"],
            "output.weight": state["lm_head.weight"],
        }
        prefix, names = "transformer.h", GPT2
    else:
        found = {
            "token_embd.weight": state["model.embed_tokens.weight"],
            "output_norm.weight": state["model.norm.weight"],
        }
        if not made.config.tie_word_embeddings:
            found["output.weight"] = state["lm_head.weight"]
        prefix, names = "model.layers", GEMMA if architecture == "gemma3" else NAMES
    for block in range(made.config.num_hidden_layers):
        for theirs, ours in names.items():
            for leaf in ("weight", "bias"):
                weight = state.get(f"{prefix}.{block}.{ours}.{leaf}")
                if weight is None:
                    continue
                if architecture == "gpt2" and weight.ndim == 2:
                    weight = weight.T
                if architecture == "llama" and theirs in ("attn_q", "attn_k"):
                    weight = paired(weight, heads if theirs == "attn_q" else made.config.num_key_value_heads)
                found[f"blk.{block}.{theirs}.{leaf}"] = weight
    if architecture == "gemma3":
        found = {name: weight + 1 if "norm" in name else weight for name, weight in found.items()}
    return {name: np.ascontiguousarray(weight, dtype=np.float32) for name, weight in found.items()}


def paired(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows in llama.cpp's order: the two halves of a head's rotation side by side."""
    out, size = np.empty_like(weight), weight.shape[0] // heads
    for head in range(heads):
        for pair in range(size // 2):
            for half in (0, 1):
                out[head * size + 2 * pair + half] = weight[head * size + half * (size // 2) + pair]
    return out


def write(
    path: Path,
    made: PreTrainedModel,
    architecture: str,
    *,
    kind: GGMLQuantizationType | None = None,
    split: str | None = "smollm",
    add_bos: bool | None = None,
    keys: Mapping[str, Any] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
    without: Sequence[str] = (),
) -> Path:
    """Write a model as a GGUF file.

    Args:
        kind: how matrices are quantised; None: float32.
        split: `tokenizer.ggml.pre`.
        add_bos: `tokenizer.ggml.add_bos_token`; None leaves it out.
        keys: more metadata, by whole name; None as a value leaves a key out.
        extra: more tensors.
        without: tensors left out.
    """
    writer = GGUFWriter(path, architecture)
    shape = made.config
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_head_count(shape.num_attention_heads)
    if architecture == "gpt2":
        writer.add_feed_forward_length(4 * shape.hidden_size)
        writer.add_layer_norm_eps(shape.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(shape.intermediate_size)
        writer.add_head_count_kv(shape.num_key_value_heads)
        writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
        rope = shape.rope_parameters
        writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
        if architecture == "llama":
            writer.add_rope_dimension_count(shape.head_dim)
    if architecture == "gemma3":
        writer.add_sliding_window(shape.sliding_window)
        _sentencepiece(writer)
    else:
        _byte_level(writer, split)
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)
    writer.add_chat_template(TEMPLATE)
    for key, value in (keys or {}).items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](key, value)
    for name, weight in {**tensors(made, architecture), **(extra or {})}.items():
        if name in without:
            continue
        if kind is None or weight.ndim < 2:
            writer.add_tensor(name, weight)
        else:
            writer.add_tensor(name, quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _byte_level(writer: GGUFWriter, split: str | None) -> None:
    vocabulary = [*SPECIAL, *BYTES.values(), *(merge.replace(" ", "") for merge in MERGES), UNMERGED]
    writer.add_tokenizer_model("gpt2")
    if split is not None:
        writer.add_tokenizer_pre(split)
    writer.add_token_list(vocabulary)
    writer.add_token_types([CONTROL if token in SPECIAL else NORMAL for token in vocabulary])
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(1)


def _sentencepiece(writer: GGUFWriter) -> None:
    vocabulary = [*PIECES, *RUNS, *WORDS]
    types = [CONTROL] * 3 + [UNKNOWN] + [BYTE] * 256 + [USER_DEFINED] * len(RUNS) + [NORMAL] * len(WORDS)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_types(types)
    writer.add_token_scores([SCORES.get(token, 0.0) for token in vocabulary])
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_add_space_prefix(False)


class Vocabulary:
    """What a GGUF file says of its tokens, read with the gguf package, and the ids that follow from it alone."""

    def __init__(self, path: Path, *, digits_first: bool = False) -> None:
        fields = GGUFReader(path).fields
        read = {name.removeprefix("tokenizer.ggml."): field.contents() for name, field in fields.items()}
        self.tokens: list[str] = read["tokens"]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.scores = read.get("scores")
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(read.get("merges", ()))}
        whole = [token for token, kind in zip(self.tokens, read["token_type"], strict=True) if kind in (3, 4)]
        self.whole = regex.compile("|".join(map(regex.escape, sorted(whole, key=len, reverse=True))))
        self.digits_first = digits_first

    def encode(self, text: str) -> list[int]:
        """Ids without BOS: control and user-defined tokens whole, the longest first, then merges."""
        found, at = [], 0
        for match in self.whole.finditer(text):
            found += self._plain(text[at : match.start()])
            found.append(self.ids[match.group()])
            at = match.end()
        return found + self._plain(text[at:])

    def _plain(self, text: str) -> list[int]:
        if self.scores is not None:
            return self._sentencepiece(text)
        parts = regex.split(r"(\p{N})", text) if self.digits_first else [text]
        words = [word for part in parts for word in regex.findall(GPT2_SPLIT, part)]
        return [self.ids[token] for word in words for token in self._merged(word)]

    def _merged(self, word: str) -> list[str]:
        symbols = [BYTES[byte] for byte in word.encode()]
        while True:
            pairs = [(self.ranks.get(pair, 1 << 30), i) for i, pair in enumerate(pairwise(symbols))]
            rank, i = min(pairs, default=(1 << 30, 0))
            if rank == 1 << 30:
                return symbols
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]

    def _sentencepiece(self, text: str) -> list[int]:
        symbols = list(text.replace(" ", "▁"))
        while True:
            joined = [left + right for left, right in pairwise(symbols)]
            known = [(-self.scores[self.ids[word]], i) for i, word in enumerate(joined) if word in self.ids]
            if not known:
                break
            i = min(known)[1]
            symbols[i : i + 2] = [joined[i]]
        spelled = [[symbol] if symbol in self.ids else [f"<0x{b:02X}>" for b in symbol.encode()] for symbol in symbols]
        return [self.ids[token] for tokens in spelled for token in tokens]
