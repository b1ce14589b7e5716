"""The tokenizer inside a GGUF file: its own vocabulary and merges, splitting texts as the file says.

transformers builds it. What transformers passes over is put right here by the rules of llama.cpp, for which such files
are written: the splits that `tokenizer.ggml.pre` names and transformers does not know, whole tokens that need no
merges, runs of spaces, and whether a text begins with BOS where the file does not say.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import (
    GGUF_PRE_TOKENIZER_SPLITS,
    convert_gguf_tokenizer,
    get_gguf_tokenizer,
)

from legible.errors import UsageError

_SPACE = "▁"  # how sentencepiece writes a space inside a token
_USER_DEFINED = 4  # a type of `tokenizer.ggml.token_type`
_PLAIN = frozenset({"gpt-2", "olmo"})  # split by GPT-2's own expression alone
_DIGITS = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"}
)  # first every digit by itself
_WHOLE_FIRST = frozenset(  # a piece that is a token is that token, whether or not merges lead to it
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"}
    | {"tekken", "gpt-4o", "llama4"}
)
_BEGUN = _WHOLE_FIRST - {"gpt-4o", "llama4"}  # a text begins with BOS unless the file says otherwise


def gguf_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a GGUF file, with its special tokens, BOS and EOS flags and chat template.

    Raises:
        UsageError: a kind of tokenizer, or a way to split texts, that is not known here.
        Exception: any kind, of transformers: a damaged file.
    """
    architecture, parts, settings = get_gguf_tokenizer(str(path))
    kind, split = parts.get("tokenizer_type"), parts.get("pre_tokenizer_type")
    if kind not in ("gpt2", "llama"):
        raise UsageError(
            f"{path} holds a tokenizer of the kind {kind!r}, expected gpt2 (byte-level BPE) or llama (sentencepiece).\n"
            "  Use the original model directory instead of the GGUF file."
        )
    if kind == "gpt2" and split not in _PLAIN | _DIGITS | set(GGUF_PRE_TOKENIZER_SPLITS):
        raise UsageError(
            f"{path} splits texts by the rule {split!r} (tokenizer.ggml.pre), which is not known here: "
            "its token ids would be wrong.\n"
            "  The usual cause is a very new or very old file. Use one converted anew, or the original model directory."
        )
    backend, _ = convert_gguf_tokenizer(architecture, parts)
    backend = _completed(backend, kind, split, parts)
    if kind == "gpt2":
        settings.setdefault("add_bos_token", split in _BEGUN and settings["bos_token"] is not None)
    settings.setdefault("add_eos_token", False)
    named = {key: value for key, value in settings.items() if value is not None}
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **named)


def _completed(backend: Tokenizer, kind: str, split: str | None, parts: dict[str, Any]) -> Tokenizer:
    """The same tokenizer with what transformers passes over."""
    if kind == "gpt2" and split in _DIGITS:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    if kind == "gpt2" and split in _WHOLE_FIRST:
        model: Any = backend.model
        model.ignore_merges = True
    if kind == "llama":
        if isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace) and parts.get("add_prefix_space") is False:
            backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never", split=False)
        return _with_runs_of_spaces(backend, parts)
    return backend


def _with_runs_of_spaces(backend: Tokenizer, parts: dict[str, Any]) -> Tokenizer:
    """Runs of spaces that the file defines as tokens are taken whole, the longest first, before anything is merged.

    transformers spells them with the sign for a space instead and merges them pair by pair: a long run comes out in
    other pieces, and that sign itself, where a text holds it, as spaces.
    """
    types = parts.get("token_type") or ()
    pairs = zip(parts["tokens"], types, strict=False)
    runs = {
        token: i for i, (token, type_) in enumerate(pairs) if type_ == _USER_DEFINED and token and not token.strip(" ")
    }
    if not runs:
        return backend
    state = json.loads(backend.to_str())
    respelled = {_SPACE * len(token) for token in runs}
    model = state["model"]
    model["vocab"] = {token: i for token, i in model["vocab"].items() if token not in respelled} | runs
    model["merges"] = [
        (left, right)
        for left, right in model["merges"]
        if left not in respelled and right not in respelled and left + right not in respelled
    ]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    added = [*state["added_tokens"], *({"id": i, "content": token, **flags} for token, i in runs.items())]
    state["added_tokens"] = sorted(added, key=lambda token: int(token["id"]))
    return Tokenizer.from_str(json.dumps(state))
