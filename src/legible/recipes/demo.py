"""The demonstration: the built-in pair reads a story that neither it nor its target has seen.

Of all the readings a few are shown, each for a reason. What is chosen follows from rules, whatever they bring to light:
a kind of reading that a story does not have is named as missing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from legible.data.forward import RECENT_TOKENS
from legible.display import probability, visible
from legible.documents import Document
from legible.languages.base import Fact
from legible.languages.world import LANGUAGE, story_document
from legible.reading.reader import ReadClaim, Reading, load
from legible.reading.reading import filtered

TRUSTED = 0.8  # the p_true that `--trust` is shown with
WRONG = ("false", "open")


@dataclass(frozen=True)
class Shown:
    """A reading and why it is shown. `about`: the kind of fact, so that two of a sort differ in it."""

    reading: Reading
    why: str
    about: str = ""


@dataclass(frozen=True)
class Demonstration:
    """A story read token by token: every reading, those worth showing (the most telling first), and what is missing."""

    document: Document
    readings: list[Reading]
    shown: list[Shown]
    missing: list[str]
    about: dict[str, Any]

    def summary(self) -> str:
        """What all the claims come to, in one sentence."""
        claims = [claim for reading in self.readings for claim in reading.claims if claim.verdict in ("true", *WRONG)]
        sure = [claim for claim in claims if claim.p_true is not None and claim.p_true >= TRUSTED]
        true, kept = (sum(claim.verdict == "true" for claim in group) for group in (claims, sure))
        return (
            f"All {len(self.readings)} readings make {len(claims)} claims that the story decides; {true} are true. "
            f"Of the {len(sure)} with p_true of at least {TRUSTED}, {kept} are."
        )


def demonstrate(seed: int = 0) -> Demonstration:
    """Read the held-out story of a seed, with the verdict on every claim."""
    reader = load("builtin")
    document = story_document("test", seed, 0)
    readings = reader.read(document)
    prepared = reader.prepare(document)
    shown, missing = choose(document.text, readings, prepared.facts, [end for _, end in prepared.encoded.offsets])
    return Demonstration(document, readings, shown, missing, reader.about())


def choose(
    text: str, readings: Sequence[Reading], facts: Mapping[int, Mapping[str, Fact]], ends: Sequence[int]
) -> tuple[list[Shown], list[str]]:
    """The readings worth showing, one of each sort before the second of any, and the sorts that there are none of.

    Args:
        text: what was read.
        readings: of its tokens, with verdicts.
        facts: of each position, by kind.
        ends: where each token ends in the text.
    """
    plain = [one for one in readings if "special_token" not in one.flags and one.explanation is not None]
    first = re.search(r"[.!?]", text)
    begun = first.end() if first else len(text)
    settled = [one for one in plain if ends[one.pos] >= begun]
    sorts: dict[str, tuple[int, Iterable[Shown]]] = {
        "an early reading": (1, _early(plain, settled)),
        "a claim from far back": (2, _context(settled, text, ends)),
        "a fact that no sentence has stated": (2, _implied(settled, text, facts, ends)),
        "a claim that is withheld": (2, _withheld(settled)),
        "a claim that is wrong": (2, _wrong(plain, facts)),
        "a reading that is right throughout": (1, _fullest(settled)),
    }
    rounds: list[list[Shown]] = [[], []]
    missing, used = [], set[int]()
    for name, (most, candidates) in sorts.items():
        taken: list[Shown] = []
        for one in candidates:
            if len(taken) < most and one.reading.pos not in used and one.about not in {other.about for other in taken}:
                rounds[len(taken)].append(one)
                taken.append(one)
                used.add(one.reading.pos)
        if not taken:
            missing.append(name)
    return [one for group in rounds for one in group], missing


def _early(readings: Sequence[Reading], settled: Sequence[Reading]) -> Iterator[Shown]:
    """Those before the end of the first sentence, where there is little to say yet."""
    for one in readings:
        if one not in settled:
            untrained = ", and the pair was not trained there (flagged)" if "early_position" in one.flags else ""
            yield Shown(one, f"early: the story's first sentence has not ended{untrained}")


def _context(readings: Sequence[Reading], text: str, ends: Sequence[int]) -> Iterator[Shown]:
    """True and trusted claims about what was last said longest ago, beyond the last tokens."""
    found = []
    for one, claim in _claims(readings):
        said = [match.end() for match in _said(claim, text[: ends[one.pos]])]
        if claim.verdict == "true" and said and (claim.p_true or 0.0) >= TRUSTED:
            back = sum(said[-1] <= end <= ends[one.pos] for end in ends) - 1
            if back >= RECENT_TOKENS:
                found.append((-back, one, claim))
    for back, one, claim in sorted(found, key=lambda item: (item[0], item[1].pos)):
        yield Shown(one, f"context: {_quoted(claim)} was last said {-back} tokens before", str(claim.relation))


def _implied(
    readings: Sequence[Reading], text: str, facts: Mapping[int, Mapping[str, Fact]], ends: Sequence[int]
) -> Iterator[Shown]:
    """True claims that follow from the text and stand nowhere in it so far; first those that no later word says."""
    found = []
    for one, claim in _claims(readings):
        fact = facts.get(one.pos, {}).get(str(claim.relation))
        if claim.verdict != "true" or fact is None or fact.status != "implied":
            continue
        if not any(_said(claim, text[: ends[one.pos]])):
            found.append((any(_said(claim, text)), one, claim))
    for later, one, claim in sorted(found, key=lambda item: (item[0], item[1].pos)):
        where = "yet" if later else "in the whole story"
        why = f"implied: {_quoted(claim)} follows from the facts; no sentence says it {where}"
        yield Shown(one, why, str(claim.relation))


def _withheld(readings: Sequence[Reading]) -> Iterator[Shown]:
    """The claims of least p_true, as a reader who asks for trust sees their readings: without them."""
    doubtful = [(one, claim) for one, claim in _claims(readings) if claim.p_true is not None and claim.p_true < TRUSTED]
    for one, claim in sorted(doubtful, key=lambda item: (item[1].p_true, item[0].pos)):
        why = f"withheld: {_quoted(claim)} has p_true {probability(claim.p_true)}; as --trust {TRUSTED} shows it"
        yield Shown(filtered(one, TRUSTED, LANGUAGE.parse), why, str(claim.relation))


def _wrong(readings: Sequence[Reading], facts: Mapping[int, Mapping[str, Fact]]) -> Iterator[Shown]:
    """The wrong claims of highest p_true: where trust was misplaced most."""
    wrong = [(one, claim) for one, claim in _claims(readings) if claim.verdict in WRONG]
    for one, claim in sorted(wrong, key=lambda item: (-(item[1].p_true or 0.0), item[0].pos)):
        fact = facts.get(one.pos, {}).get(str(claim.relation))
        says = f"says “{fact.values[0]}”" if fact is not None and fact.values else "does not say"
        p_true = "no p_true" if claim.p_true is None else f"p_true {probability(claim.p_true)}"
        why = f"wrong: {_quoted(claim)} ({claim.relation}; {p_true}); the story so far {says}"
        yield Shown(one, why, str(claim.relation))


def _fullest(readings: Sequence[Reading]) -> Iterator[Shown]:
    """Those that say most, of the readings without a wrong claim."""
    right = [one for one in readings if one.claims and all(claim.verdict == "true" for claim in one.claims)]
    for one in sorted(right, key=lambda one: (-len(one.claims), one.pos)):
        yield Shown(one, f"fullest: {len(one.claims)} claims from one vector, every one true")


def _claims(readings: Sequence[Reading]) -> Iterator[tuple[Reading, ReadClaim]]:
    """Claims about the story, with their readings; where its sentences end is none of it."""
    for one in readings:
        yield from ((one, claim) for claim in one.claims if claim.relation in LANGUAGE.probe_kinds and claim.value)


def _said(claim: ReadClaim, text: str) -> Iterator[re.Match[str]]:
    return re.finditer(rf"\b{re.escape(str(claim.value))}\b", text)


def _quoted(claim: ReadClaim) -> str:
    return f"“{visible(str(claim.value))}”"
