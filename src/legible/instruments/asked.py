"""The target asked in words: behind the text up to the token stands a sentence that a value of each kind completes.

A black box: it sees the text and no activation. Asked are all kinds whose values the language lists
(`Language.cloze`). The score of a value is the target's probability of its first token, among those of all values of
the kind. Base models complete the sentence behind the text; chat models are shown the text in a user's turn, with the
values where they are few, and begin their answer with the sentence.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.engines.cached import extend, shared_prefix, spread
from legible.engines.endings import ids_until
from legible.errors import UsageError
from legible.instruments.base import (
    Instrument,
    Offer,
    Said,
    Scored,
    Setting,
    check_rows,
    check_width,
    lacking,
    listed,
    value_claim,
)
from legible.instruments.lens import first_tokens
from legible.instruments.writing import as_chat
from legible.languages.base import Language, Row
from legible.models.arch import check_layer
from legible.models.target import Target

FEW = 32  # values that a chat model is shown
SHOWN = 0.5  # claims below this probability are scored but not shown
_SPARE = 8  # tokens that a text may gain when its ids are decoded and encoded again


class _Question(NamedTuple):
    """Of one kind: what may be answered, and the answers' first tokens."""

    kind: str
    values: list[str]
    ids: Int[Tensor, " n"]


class Asked(Instrument):
    """What the target answers when it is asked about the text that it has just read.

    Args:
        target, layer: whose activations the others read.
        language: what is asked, and the claims.

    Raises:
        UsageError: a layer out of range, or a language that lists no values.
    """

    name = "asked"
    calibrated = True

    def __init__(self, target: Target, layer: int, language: Language) -> None:
        check_layer(layer, target.n_layers)
        self.target, self.layer, self.language = target, layer, language
        if not self._questions:
            raise UsageError(
                f"the language {language.name} lists no values that {target.name} could be asked to choose among.\n"
                "  Use another instrument."
            )

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """The likeliest answer of every kind, and as one line those that are likelier than all others together.

        Values that the language's teacher leaves unsaid are no claims. A text that does not fit the target's context
        with the question loses its beginning.

        Raises:
            UsageError: no rows, or a context without room for a question.
        """
        check_width(self.target, vectors)
        check_rows(self.name, vectors, rows)
        return [self._said(row) for row in rows]

    def _said(self, row: Row) -> Said:
        logits = logits_behind(self.target, self._prompts(ids_until(self.target, row), row.prefix))
        claims = []
        for question, each in zip(self._questions, logits, strict=True):
            shares = each[question.ids].softmax(-1)
            best = int(shares.argmax())
            if question.values[best] != self.language.unsaid.get(question.kind):
                claim = value_claim(self.language, question.kind, question.values[best])
                claims.append(Scored(claim, float(shares[best])))
        return Said(listed([one for one in claims if (one.score or 0.0) >= SHOWN]), tuple(claims))

    def _prompts(self, ids: Sequence[int], prefix: str) -> list[list[int]]:
        """The token ids of every question about a text."""
        overhead = max(len(one) for one in self._with([], prefix))
        room = self.target.context - overhead - _SPARE
        if room < 1:
            raise UsageError(
                f"a question takes {overhead} tokens, which leaves no room for a text in the context of "
                f"{self.target.name}, {self.target.context} tokens.\n  Use an instrument that reads the activation."
            )
        return self._with(list(ids[-room:]), prefix)

    def _with(self, ids: list[int], prefix: str) -> list[list[int]]:
        tokenizer = self.target.tokenizer
        encode = lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"])
        clozes = [self.language.cloze(question.kind, prefix) for question in self._questions]
        if not tokenizer.chat_template:
            return [[*ids, *encode(f"\n\n{cloze}")] for cloze in clozes]
        text = str(tokenizer.decode(ids, skip_special_tokens=True))
        return [
            encode(as_chat(tokenizer, _request(text, question.values), cloze) or "")
            for question, cloze in zip(self._questions, clozes, strict=True)
        ]

    @cached_property
    def _questions(self) -> list[_Question]:
        """Every kind with values that their first tokens tell apart."""
        found = [_Question(kind, *first_tokens(self.target, values)) for kind, values in self.language.values.items()]
        return [one for one in found if len(one.values) > 1]


def _request(text: str, values: Sequence[str]) -> str:
    among = f" with one of: {', '.join(values)}" if len(values) <= FEW else ""
    return f"Here is the beginning of a text:\n\n{text}\n\nComplete a sentence about this text{among}."


@torch.no_grad()
def logits_behind(target: Target, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "n vocab"]:
    """Next-token logits behind each prompt, float32, on the CPU; what all begin with is computed once."""
    shared = 0
    while len({tuple(one[: shared + 1]) for one in prompts}) == 1 and shared + 1 < min(map(len, prompts)):
        shared += 1
    beginning = shared_prefix(target.model, torch.tensor(list(prompts[0][:shared]), device=target.device))
    found: list[Tensor | None] = [None] * len(prompts)
    for length in sorted({len(one) for one in prompts}):
        places = [place for place, one in enumerate(prompts) if len(one) == length]
        rest = torch.tensor([list(prompts[place][shared:]) for place in places], device=target.device)
        logits = extend(target.model, spread(beginning, len(places)), ids=rest).cpu()
        for place, each in zip(places, logits, strict=True):
            found[place] = each
    return torch.stack([one for one in found if one is not None])


def _made(setting: Setting) -> Asked:
    if setting.language is None:
        raise lacking(Asked.name, "a language that says what can be asked", "Name a pair's checkpoint, which has one.")
    return Asked(setting.target, setting.layer, setting.language)


OFFER = Offer(
    Asked.name,
    "what the target answers when it is asked in words about its text; it sees no activation",
    "rival",
    "that whoever has the text can simply ask the target: no activation is needed",
    _made,
    alone=False,
)
