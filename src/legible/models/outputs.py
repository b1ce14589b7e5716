"""A head over some of the vocabulary: the one place where its logits' columns become token ids, and back.

Everything outside counts in the tokenizer's ids. The ids of a corpus head are those that a corpus of explanations uses,
the stop tokens and, where the tokenizer has them, one token for every byte: so any text can still be written.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from legible.errors import UsageError
from legible.prompts import VerbalizerPrompt

FALLBACK = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS: dict[int, str] = {byte: letter for byte, letter in sorted(bytes_to_unicode().items())}
"""How a byte-level tokenizer writes each byte."""


class Outputs(nn.Module):
    """The token ids that a separate head can write, in the order of its rows."""

    def __init__(self, ids: Sequence[int] | Int[Tensor, " n"], vocabulary: int) -> None:
        """Take ids, each once, of a tokenizer with rows for `vocabulary` ids.

        Raises:
            UsageError: none, an id twice, or one past the vocabulary.
        """
        super().__init__()
        listed = torch.as_tensor(ids, dtype=torch.long)
        if (
            not len(listed)
            or len(listed.unique()) != len(listed)
            or not 0 <= int(listed.min()) <= int(listed.max()) < vocabulary
        ):
            raise UsageError(
                f"{len(listed)} output ids, {len(listed.unique())} of them different: expected each once and below "
                f"{vocabulary}.\n  The usual cause is a head of another tokenizer. Copy the checkpoint again."
            )
        self.ids: Tensor
        self.register_buffer("ids", listed, persistent=False)
        self.places: Tensor
        self.register_buffer("places", torch.full((vocabulary,), -1), persistent=False)
        self.places[listed] = torch.arange(len(listed))

    def __len__(self) -> int:
        return len(self.ids)

    def to_ids(self, columns: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
        """Token ids of columns of the logits."""
        return self.ids[columns]

    def to_columns(self, ids: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
        """Columns of token ids in the logits.

        Raises:
            UsageError: the head cannot write one of them.
        """
        columns = self.places[ids]
        if bool((columns < 0).any()):
            raise UsageError(
                f"token {int(ids[columns < 0][0])} is none of the {len(self)} that this verbalizer's head can write.\n"
                "  The usual cause is text that was tokenized without Verbalizer.completion_ids."
            )
        return columns

    def present(self, ids: Iterable[int]) -> list[int]:
        """Columns of those of the ids that the head can write."""
        return [place for place in self.places[torch.tensor(sorted(ids), dtype=torch.long)].tolist() if place >= 0]

    def spelled(self, ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """The same text in ids that the head can write: a token it lacks in bytes; empty where that is impossible."""
        spelled: list[int] = []
        for token in ids:
            spelt = [token] if self.writes(token) else in_bytes(tokenizer, token)
            if not all(self.writes(one) for one in spelt):
                return []
            spelled += spelt
        return spelled

    def writes(self, token: int) -> bool:
        """Whether the head can write a token."""
        return int(self.places[token]) >= 0


def corpus_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: VerbalizerPrompt, completions: Iterable[Sequence[int]]
) -> list[int]:
    """The ids of a head over a corpus of completions, ascending; the prompt's stop tokens and every byte included."""
    writable = {*prompt.stop_ids, *byte_ids(tokenizer)}
    for ids in completions:
        writable.update(ids)
    return sorted(writable - set(prompt.banned_ids))


@lru_cache(maxsize=8)
def byte_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The token of each of the 256 bytes; empty for a tokenizer without them."""
    known = tokenizer.get_vocab()
    for names in (FALLBACK, list(LETTERS.values())):
        if all(name in known for name in names):
            return tuple(known[name] for name in names)
    return ()


def in_bytes(tokenizer: PreTrainedTokenizerBase, token: int) -> list[int]:
    """The tokens of the bytes that a token stands for; itself, where the tokenizer has none."""
    of_bytes = byte_ids(tokenizer)
    if not of_bytes:
        return [token]
    piece = str(tokenizer.convert_ids_to_tokens(token))
    letters = {letter: byte for byte, letter in LETTERS.items()}
    if tokenizer.convert_ids_to_tokens(of_bytes[0]) == FALLBACK[0]:
        data = piece.replace("▁", " ").encode()
    elif all(letter in letters for letter in piece):
        data = bytes(letters[letter] for letter in piece)
    else:
        data = piece.encode()  # a token that was added later stands for itself
    return [of_bytes[byte] for byte in data]
