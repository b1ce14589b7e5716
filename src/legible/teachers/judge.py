"""A judge: a language model that says of numbered claims whether a text bears them out.

Any language model that can be a teacher can be the judge. An answer counts only where it gives a claim one of the four
verdicts under the claim's own number; refusals, empty, cut and contradictory answers are asked again in smaller parts,
within a limit, and what is left without a verdict is counted by reason and stays `unknown`: it is never scored.

A judge errs. How often is measured beside it, on statements whose truth is known by construction (`known_statements`).
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from legible.config import TeachConfig
from legible.languages.base import Claim, Language, Row, Verdict
from legible.teachers import make_teacher, offers, unknown_name
from legible.teachers.base import Explanation, Refusal
from legible.teachers.prompt import Request, spoken

MOST_CLAIMS = 12  # of one request; a fourth of it, then one, when asked again
TRIES = 3  # requests about a claim that got no verdict
LONGEST_CLAIM = 300  # characters of a claim that are shown
CHUNK = 32  # requests between two reports of progress
WORDS: dict[str, Verdict] = {"true": "true", "false": "false", "open": "open", "none": "unknown"}

_HEAD = "A reader has seen the passage below, up to its last character and no further.\n\n<passage>\n"
_TAIL = """
</passage>

Judge each numbered claim about the passage, by the passage alone:
- true: the passage states or clearly implies it.
- false: the passage contradicts it.
- open: it could be so, but the passage does not say.
- none: it is no statement about what the passage has said so far, e.g. a guess of what comes next.

<claims>
{claims}
</claims>

Answer with one line for each claim, its number, a colon and the one word of its verdict. Write nothing else.{again}"""
_AGAIN = " Your last answer could not be read (try {attempt})."
_ANSWER = re.compile(
    r"(?<![\w.])(\d{1,3})[\s:.)\]\"'*=-]{1,6}(true|false|open|none)\b(?!\s*(?:[/|,]|or\b)\s*(?:true|false|open|none)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Question:
    """A text and the claims about it that await a verdict, each a line of plain English."""

    passage: str
    claims: tuple[str, ...]


@runtime_checkable
class Backend(Protocol):
    """A language model that answers requests one by one and keeps its answers."""

    name: str

    def complete(self, requests: Sequence[Request]) -> list[Explanation | Refusal]:
        """One answer a request, in order."""
        ...

    def close(self) -> None:
        """Close what it holds open."""
        ...


@dataclass
class JudgeCounts:
    """What a judge was asked and what came of it."""

    requests: int = 0
    claims: int = 0
    decided: int = 0
    none: int = 0  # said to be no statement about the passage
    retried: int = 0  # claims asked again, each time counted
    failed: Counter[str] = field(default_factory=Counter)  # claims without a verdict, by the last reason

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**self.__dict__, "failed": dict(sorted(self.failed.items()))}


class Judge:
    """Asks a language model for verdicts.

    Args:
        backend: who answers.
        tries: how often a claim is asked about before it stays without a verdict.

    Attributes:
        counts: what happened so far.
    """

    def __init__(self, backend: Backend, *, tries: int = TRIES) -> None:
        self.name = backend.name
        self.counts = JudgeCounts()
        self._backend = backend
        self._tries = tries

    def verdicts(
        self, questions: Sequence[Question], progress: Callable[[int, int], None] | None = None
    ) -> list[list[Verdict]]:
        """One verdict a claim, in order; `unknown` where the judge gave none that can be read.

        Args:
            questions: texts with their claims.
            progress: called with (requests answered, requests of this round).

        Raises:
            TeacherError: the judge failed for good; its answers so far are kept.
        """
        found: list[list[Verdict]] = [["unknown"] * len(question.claims) for question in questions]
        waiting = [(at, place) for at, question in enumerate(questions) for place in range(len(question.claims))]
        self.counts.claims += len(waiting)
        reasons: dict[tuple[int, int], str] = {}
        for attempt in range(self._tries):
            self.counts.retried += len(waiting) if attempt else 0
            parts = _parts(waiting, max(1, MOST_CLAIMS // 4**attempt))
            requests = [
                judge_request(
                    questions[part[0][0]].passage, [questions[at].claims[place] for at, place in part], attempt
                )
                for part in parts
            ]
            waiting = []
            for part, answer in zip(parts, self._ask(requests, progress), strict=True):
                read = read_verdicts(answer, len(part))
                for (at, place), verdict in zip(part, read, strict=True):
                    if verdict in WORDS:
                        found[at][place] = WORDS[verdict]
                        self.counts.none += verdict == "none"
                        self.counts.decided += verdict != "none"
                    else:
                        reasons[at, place] = verdict
                        waiting.append((at, place))
        self.counts.failed.update(reasons[claim] for claim in waiting)
        return found

    def close(self) -> None:
        """Close the back end: its connections and its cache."""
        self._backend.close()

    def _ask(
        self, requests: Sequence[Request], progress: Callable[[int, int], None] | None
    ) -> list[Explanation | Refusal]:
        answers: list[Explanation | Refusal] = []
        for start in range(0, len(requests), CHUNK):
            answers += self._backend.complete(requests[start : start + CHUNK])
            if progress is not None:
                progress(len(answers), len(requests))
        self.counts.requests += len(requests)
        return answers


def judge_request(passage: str, claims: Sequence[str], attempt: int = 0) -> Request:
    """What is asked about a passage and its numbered claims; claims are untrusted and shown as single short lines."""
    lines = "\n".join(f"{n}. {_line(claim)}" for n, claim in enumerate(claims, 1))
    tail = _TAIL.replace("{again}", _AGAIN.format(attempt=attempt + 1) if attempt else "").replace("{claims}", lines)
    return Request(_HEAD, passage, tail, cue="Verdicts:", cut_mark="[its beginning is left out] ")


def read_verdicts(answer: Explanation | Refusal, claims: int) -> list[str]:
    """What an answer says of each claim: one of `WORDS`, or why it says nothing of it.

    Args:
        answer: the model's answer, or its refusal.
        claims: how many were asked about.
    """
    if isinstance(answer, Refusal):
        return [answer.reason] * claims
    said = spoken(answer.text)
    found: dict[int, set[str]] = {}
    for number, word in _ANSWER.findall(said):
        found.setdefault(int(number), set()).add(word.lower())
    if any(not 1 <= number <= claims for number in found):
        return ["verdicts on claims that were not asked about"] * claims
    return [_only(found.get(number, set())) for number in range(1, claims + 1)]


def make_judge(name: str, *, cache: Path | None = None, concurrency: int = 4, tries: int = TRIES) -> Judge:
    """A judge by its name.

    Args:
        name: a teacher that answers requests: `openai:MODEL[@URL]`, `anthropic:MODEL[@URL]` or `local:PATH`.
        cache: file that keeps its answers; None keeps them in memory.
        concurrency: requests in flight.
        tries: see `Judge`.

    Raises:
        UsageError: another name, a missing key, or no such local model.
    """
    kind, _, rest = name.partition(":")
    able = {key: offer for key, offer in offers().items() if offer.verdict_tokens}
    if kind not in able or not rest:
        raise unknown_name(name, "judge", [offer.usage for offer in able.values()])
    longest = able[kind].verdict_tokens
    config = TeachConfig(teacher=name, temperature=0.0, max_tokens=longest, concurrency=concurrency)
    backend = make_teacher(config, cache=cache, role="judge")
    assert isinstance(backend, Backend)  # as it declares
    return Judge(backend, tries=tries)


@dataclass(frozen=True)
class Known:
    """A statement about the text of a row whose truth is known by construction."""

    row: int
    claim: Claim
    true: bool


def known_statements(rows: Sequence[Row], language: Language, kinds: Sequence[str], *, seed: int = 0) -> list[Known]:
    """For every row one true statement and, of the same kind, one that is false: another row's value.

    Args:
        rows: tokens of several documents.
        language: knows what is true of them.
        kinds: of which kinds; drawn by seed among those that the row knows.
        seed: of kinds and values.
    """
    rng = random.Random(f"known {seed}")
    facts = [language.facts(row) for row in rows]
    values = {kind: sorted({value for row in facts if kind in row for value in row[kind].values[:1]}) for kind in kinds}
    found = []
    for at, row in enumerate(facts):
        known = [kind for kind in kinds if kind in row and row[kind].values]
        for kind in rng.sample(known, len(known)):
            others = [value for value in values[kind] if value not in row[kind].values]
            if others:
                found.append(Known(at, Claim("", kind, row[kind].values[0]), True))
                found.append(Known(at, Claim("", kind, rng.choice(others)), False))
                break
    return found


def _parts(waiting: Sequence[tuple[int, int]], most: int) -> list[list[tuple[int, int]]]:
    """The claims in order, cut where the question changes and after `most` of them."""
    parts: list[list[tuple[int, int]]] = []
    for claim in waiting:
        if parts and parts[-1][0][0] == claim[0] and len(parts[-1]) < most:
            parts[-1].append(claim)
        else:
            parts.append([claim])
    return parts


def _line(claim: str) -> str:
    """A claim as one line in which no tag of the prompt can be closed."""
    return " ".join(claim.split()).replace("<", "‹").replace(">", "›")[:LONGEST_CLAIM]


def _only(words: set[str]) -> str:
    return "no verdict" if not words else "contradictory verdicts" if len(words) > 1 else next(iter(words))
