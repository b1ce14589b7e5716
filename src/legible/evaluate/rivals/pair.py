"""The pair itself as an instrument, and the same pair under a doubt: given no activation, or another document's."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from legible.engines.sampling import numbered
from legible.evaluate.bench import Bench
from legible.evaluate.controls import FLOORS, like_rows, mean_direction, without_activation
from legible.evaluate.reconstruction import explain
from legible.evaluate.sample import Sample
from legible.instruments import INSTRUMENTS, Instrument, Needs, Offer, Said, Scored
from legible.instruments.base import Role, claims_in
from legible.languages.base import ClaimKey, Row
from legible.reading.checkpoint import Checkpoint
from legible.reading.trusted import trusted_of

PAIR = "pair"


class _OfPair(Instrument):
    """What the pair writes is read back by its own reconstructor; its contract knows what it was trained on."""

    def __init__(self, checkpoint: Checkpoint, bench: Bench, max_tokens: int, seed: int) -> None:
        self.checkpoint, self.bench, self.max_tokens, self.seed = checkpoint, bench, max_tokens, seed
        self.target, self.layer = checkpoint.target, checkpoint.layer

    @property
    def needs(self) -> Needs:
        """The documents of its training, and its rows, for each of which a teacher wrote a text."""
        extra = self.checkpoint.contract.legible
        variance = extra.variance if extra is not None else None
        if variance is None:
            return Needs(train_cpu_s=None)
        return Needs(variance.n, variance.documents or 0, None)


class Pair(_OfPair):
    """The verbalizer's greedy explanations; the score of a claim is its p_true."""

    name = PAIR
    calibrated = True

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """Explanations with their claims; those without a p_true have no score."""
        keys = numbered(0, len(vectors))
        written = self.checkpoint.engine.generate(vectors, keys, max_tokens=self.max_tokens, temperature=0.0)
        texts = [one[0].explanation for one in written]
        if self.bench.language is None:
            return [Said(text, (), text) for text in texts]
        trusted, _ = trusted_of(self.checkpoint, vectors, rows, written, samples=1, temperature=0.0)
        found = []
        for text, claims in zip(texts, trusted, strict=True):
            each: dict[ClaimKey, Scored] = {}
            for one in claims:
                each.setdefault(one.claim.key, Scored(one.claim, one.p_true))
            found.append(Said(text, tuple(each.values()), text))
        return found


class NoActivation(_OfPair):
    """The verbalizer given the mean direction in place of an activation: its habits."""

    name = "no-activation"

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """The same for every row, unless that claims nothing: then a sample each."""
        given, guess = Sample(vectors, rows), mean_direction(self.bench.lookup)
        language = self.bench.language
        texts = without_activation(self.checkpoint.engine, given, guess, self.max_tokens, language, self.seed)[0].texts
        return [Said(text, claims_in(language, text), text) for text in texts]


class OtherActivation(_OfPair):
    """The verbalizer given the activation of another document at a like place."""

    name = "other-activation"

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """Explanations of the activations that were lent.

        Raises:
            UsageError: there is no other document.
        """
        lender = self.bench.pool if self.bench.pool is not None else self.bench.sample
        lent = lender.vectors[like_rows(Sample(vectors, rows), lender)]
        texts = explain(self.checkpoint.engine, lent, max_tokens=self.max_tokens).texts
        return [Said(text, claims_in(self.bench.language, text), text) for text in texts]


def pair_offers(checkpoint: Checkpoint, bench: Bench, *, max_tokens: int, seed: int) -> dict[str, Offer]:
    """The pair and its floors beside the register, by name."""
    given = (checkpoint, bench, max_tokens, seed)
    offers = [_offer(Pair, *given, what="explanation, read back by the reconstructor")]
    for made in (NoActivation, OtherActivation):
        floor = FLOORS[made.name.replace("-", "_")]
        offers.append(_offer(made, *given, what=floor.what, rules_out=floor.rules_out))
    return {one.name: one for one in offers}


def _offer(
    made: type[_OfPair],
    checkpoint: Checkpoint,
    bench: Bench,
    max_tokens: int,
    seed: int,
    *,
    what: str,
    rules_out: str = "",
) -> Offer:
    role: Role = "floor" if rules_out else "reference"
    make = lambda setting: made(checkpoint, bench, max_tokens, seed)
    return Offer(made.name, what, role, rules_out, make, alone=False)


ROWS = (Pair.name, NoActivation.name, OtherActivation.name, *INSTRUMENTS)
"""Every row that a report can have, in order; the pair is in each."""
