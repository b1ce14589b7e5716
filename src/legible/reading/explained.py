"""What is written of raw vectors, and claims as readings show them.

Of a raw vector only the vector is known: its claims have no probability, since the calibrator needs the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from legible.engines import Completion
from legible.languages.base import Fact, judge
from legible.reading.calibration import Judgement
from legible.reading.checkpoint import OTHER_TARGET, Checkpoint
from legible.reading.evidence import Gathered, Spot, first_position, gather
from legible.reading.floor import floor_fve
from legible.reading.reading import ReadClaim, Reading
from legible.reading.scoring import fve_of

NO_TEXT = "a raw vector: the text that it was read from is not known"


@dataclass(frozen=True, repr=False)
class Explained(Reading):
    """What was read in one raw vector: `pos` is the vector's index, and there is no token."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, the keys of `legible read --vectors --json`."""
        found = super().as_dict()
        for name in ("pos", "token", "token_id", "layer", "trust"):
            del found[name]
        return {"index": self.pos, **found}


def explained(
    checkpoint: Checkpoint,
    vectors: Float[Tensor, "n d_model"],
    completions: Sequence[Sequence[Completion]],
    first: int = 0,
) -> list[Explained]:
    """What is shown of raw vectors from what was written for them.

    Args:
        checkpoint: who wrote.
        vectors: raw activations.
        completions: of each of them, equally many.
        first: index of the first one.
    """
    spots = [Spot(first_position(checkpoint)) for _ in completions]
    alone: list[list[int]] = [[] for _ in completions]
    every = gather(checkpoint, vectors, completions, spots, alone, leverage=())
    return [_explained(checkpoint, first + row, vectors[row], one) for row, one in enumerate(every)]


def read_claims(gathered: Gathered, opinions: Sequence[Judgement], facts: Mapping[str, Fact]) -> tuple[ReadClaim, ...]:
    """The claims of one reading as they are shown."""
    return tuple(
        ReadClaim(
            **vars(claim),
            p_true=p_true,
            verdict=judge(claim, facts),
            agreement=evidence.agreement,
            leverage=evidence.leverage,
            recurrence=evidence.recurrence,
            probe=evidence.probe,
        )
        for claim, evidence, (p_true, _) in zip(gathered.claims, gathered.evidence, opinions, strict=True)
    )


def samples_of(gathered: Gathered) -> tuple[tuple[str | None, float | None], ...]:
    """Every explanation with its direction_mse, where there are several."""
    pairs = zip(gathered.completions, gathered.errors, strict=True)
    return tuple((done.explanation, error) for done, error in pairs) if len(gathered.completions) > 1 else ()


def _explained(checkpoint: Checkpoint, index: int, vector: Float[Tensor, " d_model"], one: Gathered) -> Explained:
    mse, variance = one.errors[one.best], checkpoint.variance
    warnings = {OTHER_TARGET: checkpoint.other_target is not None, "parse_failed": one.explanation is None}
    return Explained(
        pos=index,
        token="",
        token_id=-1,
        layer=checkpoint.layer,
        norm=float(vector.norm()),
        flags=tuple(name for name, holds in warnings.items() if holds),
        explanation=one.explanation,
        direction_mse=mse,
        fve_token=fve_of(mse, variance),
        floor_fve=floor_fve(vector, checkpoint.uninformed, variance),
        claims=read_claims(one, [(None, None)] * len(one.claims), {}),
        unparsed=one.unparsed,
        samples=samples_of(one),
        p_true_reason=NO_TEXT,
    )
