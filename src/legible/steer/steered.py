"""What a steered text is: its continuations untouched, at every strength and under the controls, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from legible.display import visible
from legible.steer.strength import Proposal, Trial
from legible.steer.sweep import Continuation, Mode, mean_nats


@dataclass(frozen=True)
class Try:
    """One strength: its continuations, their nats per token, and what the changed activation reads as."""

    strength: float
    continuations: tuple[Continuation, ...]
    nats: float | None
    cost: float | None  # nats above the untouched continuations'
    read: str | None = None
    read_back: bool | None = None  # None for controls, which are not read

    @classmethod
    def of(
        cls, strength: float, group: Sequence[Continuation], base: float | None, trial: Trial | None = None
    ) -> "Try":
        """From what was written at a strength, the nats of the untouched continuations, and the trial that read it."""
        nats = mean_nats(group)
        return cls(
            strength=strength,
            continuations=tuple(group),
            nats=nats,
            cost=nats - base if nats is not None and base is not None else None,
            read=trial.read if trial is not None else None,
            read_back=trial.read_back if trial is not None else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; `read` and `read_back` where the activation was read."""
        found: dict[str, Any] = {"strength": self.strength, "nats": self.nats, "cost": self.cost}
        if self.read_back is not None:
            found |= {"read": self.read, "read_back": self.read_back}
        return {**found, "continuations": [_shown(one) for one in self.continuations]}


@dataclass(frozen=True, repr=False)
class Steered:
    """A text continued untouched, steered at several strengths, and under controls of the same length.

    edited: the explanation after the edit; None where a vector was given in its place.
    length: of the difference that the edit makes between the reconstructor's unit vectors; None without an edit.
    unrelated: the explanation with another statement changed; None where it says nothing else, or without controls.
    """

    text: str
    pos: int
    token: str
    layer: int
    norm: float
    mode: Mode
    explanation: str
    edited: str | None
    length: float | None
    proposal: Proposal
    untouched: Try
    steered: tuple[Try, ...]
    controls: dict[str, tuple[Try, ...]]
    unrelated: str | None

    def __repr__(self) -> str:
        chosen = self.chosen
        lines = [
            f"<steered at token {self.pos} {self.token!r}, proposed strength {chosen.strength:g}:",
            f"  {self.proposal.reason}>",
            f"  reads      {visible(self.explanation)}",
            *([] if self.edited is None else [f"  edited     {visible(self.edited)}"]),
            *(f"  untouched  {visible(one.text)}" for one in self.untouched.continuations),
            *(f"  steered    {visible(one.text)}" for one in chosen.continuations),
        ]
        return "\n".join(lines)

    @property
    def chosen(self) -> Try:
        """The steered continuations at the proposed strength."""
        return next(one for one in self.steered if one.strength == self.proposal.strength)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, the keys of `legible steer --json`."""
        return {
            "text": self.text,
            "pos": self.pos,
            "token": self.token,
            "layer": self.layer,
            "norm": self.norm,
            "mode": self.mode,
            "explanation": self.explanation,
            "edited": self.edited,
            "length": self.length,
            "proposal": {
                "strength": self.proposal.strength,
                "reason": self.proposal.reason,
                "read_back": self.proposal.read_back,
                "fluent": self.proposal.fluent,
            },
            "untouched": self.untouched.as_dict(),
            "steered": [one.as_dict() for one in self.steered],
            "controls": {name: [one.as_dict() for one in tries] for name, tries in self.controls.items()},
            "unrelated": self.unrelated,
        }


def _shown(one: Continuation) -> dict[str, Any]:
    return {"text": one.text, "tokens": len(one.tokens), "nats": one.nats, "cut": one.cut}
