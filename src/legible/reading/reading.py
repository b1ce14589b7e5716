"""What a reading is, and what is shown of it: claims with their probabilities, filtered by trust where asked for."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from legible.display import probability, visible
from legible.errors import UsageError
from legible.languages.base import Claim, Parsed, Verdict
from legible.reading.doubt import doubtful, doubtful_claims, little_to_say, not_understood
from legible.reading.marks import Piece, pieces, withheld
from legible.reading.spans import without


@dataclass(frozen=True)
class ReadClaim(Claim):
    """One statement of an explanation, the evidence for it, and the probability that it is true."""

    p_true: float | None = None  # None: no calibrator applies; the reading says why
    verdict: Verdict = "unknown"  # where the text is known and a language decides it
    agreement: float | None = None  # share of the samples that make the same claim; None with one sample
    leverage: float | None = None  # rise of direction_mse without its words; None where it was not measured
    recurrence: float | None = None  # share of the readings within 2 tokens that make it; None without any
    probe: float | None = None  # probability that a probe of the activation gives its value; None without one

    def as_dict(self) -> dict[str, Any]:
        """Every key but the verdict always; the verdict where it is known."""
        names = ("subject", "relation", "value", "polarity", "family", "text", "p_true", "parsed", "agreement",
                 "leverage", "recurrence", "probe")  # fmt: skip
        found = {name: getattr(self, name) for name in names}
        return found if self.verdict == "unknown" else {**found, "verdict": self.verdict}


@dataclass(frozen=True, repr=False)
class Reading:
    """What was read at one token, `pos` in its text, of an activation of length `norm`.

    `fve_token` is at most 1, 1 where the words give the whole activation back; `direction_mse` is in [0, 4], 0 best.
    `samples` holds every explanation where more than one was asked for. `shown` is the explanation without the claims
    that a trust filter withheld; None when nothing is left of it.
    """

    pos: int
    token: str
    token_id: int
    layer: int
    norm: float
    flags: tuple[str, ...]
    explanation: str | None
    direction_mse: float | None
    fve_token: float | None
    claims: tuple[ReadClaim, ...]
    unparsed: tuple[str, ...] = ()  # clauses from which no relation could be read
    floor_fve: float | None = None  # what words that say nothing of the activation score here
    samples: tuple[tuple[str | None, float | None], ...] = ()
    p_true_reason: str | None = None  # why claims have no p_true, said once
    trust: float | None = None  # the filter that was asked for
    withheld: int = 0
    kept: str | None = None
    centered_cosine: float | None = None  # only where V is not known: about the mean of the text's own tokens

    def __repr__(self) -> str:
        fve = "" if self.fve_token is None else f" FVE {self.fve_token:.2f}"
        trust = "" if (found := self.trusted()) is None else f" trust {'/'.join(map(probability, found))}"
        flags = f" [{', '.join(self.flags)}]" if self.flags else ""
        words = "(no explanation)" if self.explanation is None else visible(self.shown or "(abstains)")
        return f"<{type(self).__name__} {self.pos} {self.token!r}{fve}{trust}{flags}: {words}>"

    @property
    def shown(self) -> str | None:
        """The words to show: all of them, or those that a trust filter let through."""
        return self.explanation if self.trust is None else self.kept

    @property
    def abstains(self) -> bool:
        """Whether an explanation came out and the trust filter left none of its claims."""
        return self.trust is not None and self.explanation is not None and not self.claims

    def pieces(self) -> list[Piece]:
        """The words to show, cut at the claims; empty where there are none."""
        claims = [(claim.text, claim.value, claim.verdict, claim.p_true) for claim in self.claims]
        return pieces(self.shown or "", claims)

    def plain(self) -> str:
        """The words to show where doubt cannot be drawn: without the doubtful claims."""
        return "".join(piece.text for piece in withheld(self.pieces()))

    def notes(self) -> str:
        """How many claims are doubtful, what no relation was read from, and why the pair has little to say here.

        Empty where there is nothing to note. Under a trust filter words of no relation are withheld, so not named.
        """
        little = little_to_say(self.flags, self.fve_token, self.floor_fve)
        lost = not_understood(self.unparsed if self.trust is None else ())
        return "; ".join(filter(None, (doubtful_claims(self.doubtful), lost, little)))

    @property
    def doubtful(self) -> int:
        """How many of the claims are doubtful."""
        return sum(doubtful(claim.p_true) for claim in self.claims)

    def trusted(self) -> tuple[float, float] | None:
        """Mean and least p_true of the claims that have one; None where none has."""
        known = [claim.p_true for claim in self.claims if claim.p_true is not None]
        return (sum(known) / len(known), min(known)) if known else None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, the keys of `legible read --json`."""
        found: dict[str, Any] = {
            "pos": self.pos,
            "token": self.token,
            "token_id": self.token_id,
            "layer": self.layer,
            "norm": self.norm,
            "flags": list(self.flags),
            "explanation": self.explanation,
            "direction_mse": self.direction_mse,
            "fve_token": self.fve_token,
            "floor_fve": self.floor_fve,
            "trust": None if (trusted := self.trusted()) is None else dict(zip(("mean", "min"), trusted, strict=True)),
            "claims": [claim.as_dict() for claim in self.claims],
            "unparsed": list(self.unparsed),
        }
        if self.centered_cosine is not None:
            found["centered_cosine"] = self.centered_cosine
        if self.p_true_reason is not None:
            found["p_true_reason"] = self.p_true_reason
        if self.trust is not None:
            found |= {
                "threshold": self.trust,
                "shown": self.shown,
                "withheld": self.withheld,
                "abstains": self.abstains,
            }
        if self.samples:
            found["samples"] = [{"explanation": text, "direction_mse": mse} for text, mse in self.samples]
        return found


def check_trust(trust: float | None) -> float | None:
    """The threshold, when it is a probability.

    Raises:
        UsageError: it is not.
    """
    if trust is not None and not 0.0 <= trust <= 1.0:
        raise UsageError(f"trust is {trust:g}, expected a probability between 0 and 1, e.g. 0.8.")
    return trust


def filtered(reading: Reading, trust: float | None, parse: Callable[[str], Parsed]) -> Reading:
    """The reading with the claims of at least this p_true; those without one and unparsed words are withheld too.

    Args:
        reading: with all its claims.
        trust: the threshold; None lets everything through.
        parse: reads a text, as it read the reading's.
    """
    if trust is None:
        return reading
    shown = tuple(claim for claim in reading.claims if claim.p_true is not None and claim.p_true >= trust)
    return replace(
        reading,
        claims=shown,
        trust=trust,
        withheld=len(reading.claims) - len(shown),
        kept=_only(reading.explanation, shown, parse) if reading.explanation is not None and shown else None,
    )


def _only(text: str, shown: Sequence[ReadClaim], parse: Callable[[str], Parsed]) -> str:
    """The explanation with the words of every other claim deleted, or the claims alone where that cannot be done."""
    kept = {claim.key for claim in shown}
    while True:
        found = parse(text)
        claims = found.claims
        wrong = next((index for index, claim in enumerate(claims) if claim.key not in kept), None)
        if wrong is None and not found.unparsed and len({claim.key for claim in claims}) == len(kept):
            return text
        if wrong is not None:
            shorter = without(text, claims, wrong)
        else:  # a clause of no relation goes as one of any would
            shorter = without(text, [Claim(found.unparsed[0], "")], 0) if found.unparsed else text
        if len(shorter) >= len(text) and len(parse(shorter).claims) >= len(claims):
            return ". ".join(f"{claim.relation}: {claim.stated}" if claim.parsed else claim.text for claim in shown)
        text = shorter


def usual_reason(reasons: list[str | None]) -> str | None:
    """The most common reason among the claims without p_true; None where every claim has one."""
    counts = Counter(reason for reason in reasons if reason is not None)
    return counts.most_common(1)[0][0] if counts else None
