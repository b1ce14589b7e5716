"""Verdicts of a judge on the claims of readings, and how far that judge agrees with what is known by construction."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from legible.evaluate.claims import Judged
from legible.evaluate.sample import Sample
from legible.languages.base import Language, Verdict
from legible.languages.text import LANGUAGE as TEXT
from legible.stats import share_interval
from legible.teachers.judge import Judge, Question, known_statements

CHECKED_ROWS = 100  # on which a judge of free text is checked, two statements each
Progress = Callable[[int, int], None]


def judge_claims(
    judge: Judge, sample: Sample, claims: Sequence[Judged], language: Language | None, progress: Progress | None = None
) -> list[Judged]:
    """The claims with the judge's verdicts.

    Abstentions are no claims, and what only the target decides (`Language.target_kinds`) cannot be seen in the text:
    these keep the verdict they have.

    Args:
        judge: sees the text up to the read token and the claims made there.
        sample: the rows read.
        claims: of all rows, in order.
        language: whose claims they are; None for sentences.
        progress: called with (requests answered, requests).

    Raises:
        TeacherError: the judge failed for good; its answers so far are kept.
    """
    asked = [n for n, item in enumerate(claims) if is_asked(item, language)]
    by_row: dict[int, list[int]] = {}
    for n in asked:
        by_row.setdefault(claims[n].row, []).append(n)
    shown = [item.claim.text if language is None else language.in_plain_words(item.claim) for item in claims]
    questions = [Question(sample.rows[row].prefix, tuple(shown[n] for n in places)) for row, places in by_row.items()]
    verdicts = judge.verdicts(questions, progress)
    said = {
        n: verdict
        for places, verdict_row in zip(by_row.values(), verdicts, strict=True)
        for n, verdict in zip(places, verdict_row, strict=True)
    }
    return [replace(item, verdict=said[n]) if n in said else item for n, item in enumerate(claims)]


def is_asked(item: Judged, language: Language | None) -> bool:
    """Whether a judge can decide this claim from the text."""
    return not item.claim.abstains and not (language is not None and item.claim.relation in language.target_kinds)


def agreement_on_readings(
    known: Sequence[Judged], judged: Sequence[Judged], sample: Sample, language: Language | None
) -> dict[str, Any]:
    """How often the judge's verdicts on the readings' claims are those known by construction.

    Args:
        known, judged: the same claims, with the language's and with the judge's verdicts.
        language: whose claims they are; what a judge is not asked does not count.
    """
    pairs = [
        (one.verdict, other.verdict, sample.doc_ids[one.row])
        for one, other in zip(known, judged, strict=True)
        if is_asked(one, language)
    ]
    return _agreement(pairs, "the readings' own claims")


def agreement_on_statements(
    judge: Judge, sample: Sample, *, seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """The same on statements of the text language about the rows' texts, as many true as false.

    For checkpoints whose claims no language decides. Only kinds that a reader can decide without counting words.
    """
    order = np.random.default_rng([seed, 5]).permutation(len(sample))[:CHECKED_ROWS].tolist()
    rows = [sample.rows[row] for row in order]
    statements = known_statements(rows, TEXT, TEXT.text_kinds, seed=seed)
    questions = [Question(rows[one.row].prefix, (TEXT.in_plain_words(one.claim),)) for one in statements]
    verdicts = judge.verdicts(questions, progress)
    pairs: list[tuple[Verdict, Verdict, str]] = [
        ("true" if one.true else "false", verdict, rows[one.row].document.doc_id)
        for one, [verdict] in zip(statements, verdicts, strict=True)
    ]
    return _agreement(pairs, "statements made from the facts of the same texts")


def _agreement(pairs: Sequence[tuple[Verdict, Verdict, str]], on: str) -> dict[str, Any]:
    """Whether both call a claim true, over the claims that both decide.

    Returns:
        `value`, `low`, `high`, `n`, `documents`; `kappa` (Cohen's, agreement over chance); `true_accepted` and
        `wrong_accepted`, the shares of the true and of the other claims that the judge calls true; `undecided`, claims
        left out because one side gave no verdict; `on`, what was judged.
    """
    decided = [(known == "true", said == "true", doc) for known, said, doc in pairs if {known, said} <= _DECIDED]
    same = [float(known == said) for known, said, _ in decided]
    agreement = share_interval(same, np.ones(len(same)), [doc for *_, doc in decided])
    rate, said_rate = _mean([known for known, *_ in decided]), _mean([said for _, said, _ in decided])
    kappa = None
    if rate is not None and said_rate is not None:
        chance = rate * said_rate + (1 - rate) * (1 - said_rate)
        kappa = (agreement.value - chance) / (1 - chance) if chance < 1 else None
    return {
        **agreement.as_dict(),
        "kappa": kappa,
        "true_accepted": _mean([said for known, said, _ in decided if known]),
        "wrong_accepted": _mean([said for known, said, _ in decided if not known]),
        "undecided": len(pairs) - len(decided),
        "on": on,
    }


_DECIDED = {"true", "false", "open"}


def _mean(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
