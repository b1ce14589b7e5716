"""Foresight: where the text leaves a fact open, does the reading name what the target itself would say next?

The target continues the text 16 times. Where at least 14 continuations settle an open fact on the same value, that
value is the target's own later choice, and a claim about the fact is right or wrong by it. Abstaining, or saying
nothing of it, is neither.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legible.engines.continuations import continue_text, texts_behind
from legible.engines.sampling import row_key
from legible.evaluate.sample import Sample
from legible.languages.base import Claim, Fact, Language, Row
from legible.models.target import Target
from legible.stats import share_interval

AGREEMENT = 14 / 16  # of the continuations
TOKENS = 64  # longest continuation


@dataclass(frozen=True)
class Choice:
    """An open fact that the target's continuations agree on."""

    row: int
    kind: str
    value: str


def choices(
    target: Target,
    sample: Sample,
    language: Language,
    *,
    rows: int,
    continuations: int,
    first: Collection[int] = (),
    seed: int = 0,
) -> list[Choice]:
    """The target's own later choices at up to `rows` rows with open facts, drawn by seed.

    Args:
        language: knows what a continuation states.
        rows, continuations: how many rows, and continuations of each.
        first: rows to draw before all others: those whose reading claims an open fact, since only these are judged.
    """
    unsettled = [_open_kinds(facts, language) for facts in sample.facts]
    open_rows = [row for row, kinds in enumerate(unsettled) if kinds]
    shuffled = [open_rows[int(place)] for place in np.random.default_rng([seed, 2]).permutation(len(open_rows))]
    drawn = sorted(shuffled, key=lambda row: row not in first)[:rows]
    chosen = []
    for row in sorted(drawn):
        texts = continued(target, sample.rows[row], samples=continuations, seed=seed)
        said = [language.told(sample.rows[row].prefix, text) for text in texts]
        for kind in unsettled[row]:
            counts = Counter(values[kind] for values in said if kind in values)
            if counts:
                value, times = counts.most_common(1)[0]
                if times >= AGREEMENT * continuations:
                    chosen.append(Choice(row, kind, value))
    return chosen


def _open_kinds(facts: Mapping[str, Fact], language: Language) -> list[str]:
    return [kind for kind in language.probe_kinds if kind in facts and facts[kind].status == "open"]


def continued(target: Target, row: Row, *, samples: int, seed: int) -> list[str]:
    """What the target would say after the read token, as text that can be put right behind `row.prefix`.

    Empty where the context has no room left.
    """
    ids = target.encode(row.document.text).ids[: row.pos + 1]
    room = min(TOKENS, target.context - len(ids))
    if room < 1:
        return []
    key = row_key(seed, row, 0)
    written = continue_text(target, ids, samples=samples, max_tokens=room, key=key, stop_ids=target.end_ids)
    return texts_behind(target, ids, written)


def foresight(
    chosen: Sequence[Choice], texts: Sequence[str | None], doc_ids: Sequence[str], language: Language
) -> dict[str, Any]:
    """How often claims about the target's later choices agree with them.

    Returns:
        `value`, `low`, `high`, `n` (claims judged), `documents`, and `instances` (choices found). NaN without claims.
    """
    rows = {choice.row: texts[choice.row] for choice in chosen}
    claims = {row: language.parse(text).claims if text else [] for row, text in rows.items()}
    return foresight_of(chosen, claims, doc_ids, language)


def foresight_of(
    chosen: Sequence[Choice], claims: Mapping[int, Sequence[Claim]], doc_ids: Sequence[str], language: Language
) -> dict[str, Any]:
    """The same for claims that are already parsed, by row."""
    claimed, right, docs = [], [], []
    for choice in chosen:
        said = language.affirmed(claims[choice.row], choice.kind)
        claimed += [1.0] * len(said)
        right += [float(value == choice.value) for value in said]
        docs += [doc_ids[choice.row]] * len(said)
    return {**share_interval(right, claimed, docs).as_dict(), "instances": len(chosen)}
