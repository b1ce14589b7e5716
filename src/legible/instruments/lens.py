"""What lenses share: a vector is carried to the last layer, goes through the target's final norm and head, and is read.

Three things are read: the likeliest next tokens; what these say in a language (`Language.of_next`); and, of every kind
whose values the language lists, the value whose word the vector points at most (a softmax over the first tokens of the
values' words). Values whose words begin with the same token are told apart by nothing; the first stands for them.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.data.predictions import token_texts
from legible.errors import UsageError
from legible.instruments.base import BATCH, Instrument, Said, Scored, check_width, value_claim
from legible.languages.base import Language, Row
from legible.models.arch import check_layer
from legible.models.target import Target

TOP = 5


class Lens(Instrument):
    """The target's own head on a vector that was carried to its last layer.

    Args:
        target: the model.
        layer: the layer K of the vectors.
        top: how many words are shown.
        language: claims are in; None: there are none.

    Raises:
        UsageError: a layer out of range, or `top` below 1.
    """

    def __init__(self, target: Target, layer: int, *, top: int = TOP, language: Language | None = None) -> None:
        check_layer(layer, target.n_layers)
        if top < 1:
            raise UsageError(f"top is {top}, expected at least 1.")
        self.target = target
        self.layer = layer
        self.language = language
        self.count = min(top, target.arch.embedding.num_embeddings)

    @abstractmethod
    def carried(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """The vectors as the stream before the final norm would hold them, float32 on the CPU."""

    @torch.no_grad()
    def logits(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """Next-token logits, float32, on the CPU.

        Raises:
            UsageError: vectors of another width.
        """
        check_width(self.target, vectors)
        return head_logits(self.target, self.carried(vectors)).cpu()

    def top(self, vectors: Float[Tensor, "n d_model"]) -> list[list[tuple[str, float]]]:
        """For every vector its likeliest next tokens as they stand in running text, with probabilities, best first."""
        return [words for chunk in vectors.split(BATCH) for words in self._top(self.logits(chunk))]

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """The likeliest words as one line, `" barn" 0.41, "s" 0.12`, and the claims that these and the head make."""
        found = []
        for chunk in vectors.split(BATCH):
            logits = self.logits(chunk)
            for words, row in zip(self._top(logits), logits.log_softmax(-1), strict=True):
                text = ", ".join(f'"{piece}" {share:.2f}' for piece, share in words)
                bare = " ".join(piece.strip() for piece, _ in words if piece.strip()) or None
                found.append(Said(text, self._claims(words, row), bare))
        return found

    def _top(self, logits: Float[Tensor, "n vocab"]) -> list[list[tuple[str, float]]]:
        shares, ids = logits.softmax(-1).topk(self.count, dim=-1)
        return [
            [(self._texts[token], share) for token, share in zip(row, values, strict=True)]
            for row, values in zip(ids.tolist(), shares.tolist(), strict=True)
        ]

    def _claims(self, words: Sequence[tuple[str, float]], logp: Float[Tensor, " vocab"]) -> tuple[Scored, ...]:
        if self.language is None:
            return ()
        unsaid = self.language.unsaid
        claims = [
            Scored(claim, share)
            for claim, share in self.language.of_next(words)
            if claim.value != unsaid.get(claim.relation or "")
        ]
        for kind, (values, ids) in self._values.items():
            shares = logp[ids].softmax(-1)
            best = int(shares.argmax())
            if values[best] != unsaid.get(kind):
                claims.append(Scored(value_claim(self.language, kind, values[best]), float(shares[best])))
        return tuple(claims)

    @cached_property
    def _values(self) -> Mapping[str, tuple[list[str], Tensor]]:
        """Of every kind with listed values that the text decides: the values, and their words' first tokens."""
        found = {}
        language = self.language
        for kind, values in (language.values if language is not None else {}).items():
            if language is None or kind in language.target_kinds or set(values) <= {"yes", "no"}:
                continue
            told_apart, ids = first_tokens(self.target, values)
            if len(told_apart) > 1:
                found[kind] = (told_apart, ids)
        return found

    @cached_property
    def _texts(self) -> list[str]:
        """Text of every output row; models pad their vocabulary, and the extra rows have none."""
        texts = token_texts(self.target)
        rows = self.target.model.get_output_embeddings().weight.shape[0]
        return texts + [f"<{i}>" for i in range(len(texts), rows)]


def first_tokens(target: Target, words: Sequence[str]) -> tuple[list[str], Int[Tensor, " n"]]:
    """The words that their first tokens tell apart, and these: the token each begins with inside running text.

    Of words that begin with the same token the first stands for all.
    """
    tokenizer = target.tokenizer
    before = len(tokenizer.encode("a", add_special_tokens=False))
    first: dict[int, str] = {}
    for word in words:
        ids = tokenizer.encode(f"a {word}", add_special_tokens=False)[before:]
        own = [token for token in ids if str(tokenizer.decode([token])).strip()]  # some write the space apart
        first.setdefault(int((own or ids)[0]), word)
    return list(first.values()), torch.tensor(list(first))


def head_logits(target: Target, stream: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
    """Next-token logits of streams before the final norm, float32, on the target's device; gradients flow."""
    model: Any = target.model
    weight = target.arch.embedding.weight
    normed = target.arch.final_norm(stream.to(weight.device, weight.dtype))
    logits: Tensor = model.get_output_embeddings()(normed).float()
    cap = model.config.to_dict().get("final_logit_softcapping")  # Gemma squashes its logits where this is set
    return logits if cap is None else cap * (logits / cap).tanh()
