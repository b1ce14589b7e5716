"""Twins: two texts that differ in one label and end in the same 8 tokens; a reading that is true follows the label.

One text of a pair is a row's own. The other is the text of another document up to its row's last 8 tokens, followed by
those of the first, and run through the target again. The label of each is what the language knows of the words before
the shared 8 tokens; where these would change it, there is no pair.

A pair is told apart where each of the two is given its own text's value and no other. The pairs that are read are those
that a probe, fitted on other documents, tells apart by its most probable values: where it does not, the activation may
not hold the label. A reader that does not see what stands before the last 8 tokens says the same twice, and tells no
pair apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from legible.data.forward import RECENT_TOKENS
from legible.documents import Document
from legible.engines.endings import ids_until, streams_behind
from legible.evaluate.retrieval import drawn_rows
from legible.evaluate.sample import Sample
from legible.languages.base import Claim, Language, Row
from legible.models.target import Target
from legible.probes.probes import ProbeSet
from legible.stats import share_interval

TRIES = 4  # pairs that the probe may see for each that is wanted

Reads = Callable[[Float[Tensor, "n d_model"], Sequence[Row]], Sequence[Sequence[Claim]]]
"""What is claimed of every activation, read at these rows."""


@dataclass(frozen=True)
class Pair:
    """A row, another whose beginning takes the first one's last 8 tokens, and the value of either text."""

    own: int
    other: int
    values: tuple[str, str]


@dataclass(frozen=True)
class Tried:
    """Pairs with the activations of both texts, and which of them the probe tells apart."""

    pairs: list[Pair]
    vectors: Float[Tensor, "n 2 d_model"]
    by_probe: list[bool]


def twins(
    target: Target, layer: int, sample: Sample, probes: ProbeSet | None, language: Language, reads: Reads,
    *, pairs: int, seed: int = 0,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """How often readings tell twins apart, for every kind of the language's `twin_kinds`.

    Args:
        target, layer: whose activations.
        sample: held-out rows with their facts.
        probes: fitted on other documents; None: no pair can be chosen.
        reads: the reader.
        pairs: wanted of each kind; up to four times as many are tried.
        seed: of the drawing.

    Returns:
        By kind `n` (pairs that are read), `told_apart`, `told_apart_any` (at least one text is given its own value and
        not the other's; a reader that says one value of all texts reaches it too), `probe` (share of the tried pairs
        that the probe tells apart) and `probe_chosen` (of those read) as intervals over the first texts' documents,
        `values` (how many there are among the pairs) and `reason`: why nothing was read, else null.
    """
    tried = tried_twins(target, layer, sample, probes, language, pairs=pairs, seed=seed)
    return told_apart(tried, sample, language, reads, pairs=pairs)


def tried_twins(
    target: Target, layer: int, sample: Sample, probes: ProbeSet | None, language: Language,
    *, pairs: int, seed: int = 0,
) -> dict[str, Tried | str]:  # fmt: skip
    """The pairs of every kind with their activations, or why there are none; arguments as for `twins`."""
    found: dict[str, Tried | str] = {}
    for place, kind in enumerate(language.twin_kinds):
        rng = np.random.default_rng([seed, 8, place])
        if probes is None or kind not in probes.classes:
            found[kind] = "no probe of this kind: no other documents know it"
            continue
        known = [value for value in probes.classes[kind] if value != language.unsaid.get(kind)]
        drawn = drawn_pairs(sample, language, kind, TRIES * pairs, rng, known)
        if not drawn:
            found[kind] = "no two documents that were read differ in it before their last 8 tokens"
            continue
        found[kind] = _tried(target, layer, sample, probes, kind, drawn, pairs)
    return found


def told_apart(
    tried: Mapping[str, Tried | str], sample: Sample, language: Language, reads: Reads, *, pairs: int
) -> dict[str, dict[str, Any]]:
    """How often a reader tells the pairs apart, by kind; see `twins`."""
    return {
        kind: _nothing(one) if isinstance(one, str) else _scores(sample, language, kind, one, reads, pairs)
        for kind, one in tried.items()
    }


def drawn_pairs(
    sample: Sample, language: Language, kind: str, most: int, rng: np.random.Generator, known: Sequence[str]
) -> list[Pair]:
    """Pairs of rows of different documents whose texts differ in a kind, each pair once, at most so many.

    Args:
        known: values that a probe tells apart and readings state; others make no pair.
    """
    rows = drawn_rows(sample, len(sample), 0)
    values = {row: _value(language, sample.rows[row], sample.rows[row], kind) for row in rows}
    rows = [row for row in rows if values[row] in known and _holds(sample, row, kind, values[row])]
    by_value: dict[str, list[int]] = {}
    for row in rows:
        by_value.setdefault(str(values[row]), []).append(row)
    pairs: dict[tuple[int, int], Pair] = {}
    for _ in range(4 * most if len(by_value) > 1 else 0):
        row_read = rows[int(rng.integers(len(rows)))]
        others = [row for value, same in by_value.items() if value != values[row_read] for row in same]
        other = others[int(rng.integers(len(others)))]
        if (row_read, other) in pairs or sample.doc_ids[row_read] == sample.doc_ids[other]:
            continue
        theirs = _value(language, sample.rows[other], sample.rows[row_read], kind)
        if theirs in known and theirs != values[row_read]:
            pairs[row_read, other] = Pair(row_read, other, (str(values[row_read]), str(theirs)))
        if len(pairs) == most:
            break
    return list(pairs.values())


def spliced(beginning: Row, ending: Row) -> Row:
    """The row at the end of one row's text before its last 8 tokens, followed by the last 8 tokens of another.

    Its labels are those of the beginning; what they say of later words is left out.
    """
    document, cut = beginning.document, beginning.recent_start
    text = document.text[:cut] + ending.recent
    labels = {
        kind: replace(label, marks=tuple(mark for mark in label.marks if mark.start <= cut))
        for kind, label in document.labels.items()
    }
    joined = Document(f"{document.doc_id}+{ending.document.doc_id}", text, labels=labels)
    return Row(joined, beginning.pos, len(text), cut, ending.token_id, ending.prev_token_id)


def _spliced(sample: Sample, pair: Pair) -> Row:
    return spliced(sample.rows[pair.other], sample.rows[pair.own])


def _value(language: Language, beginning: Row, ending: Row, kind: str) -> str | None:
    """The one value of a kind that the spliced text has; None where it has none or several."""
    return _one(language.facts(spliced(beginning, ending)), kind)


def _holds(sample: Sample, row: int, kind: str, value: str | None) -> bool:
    """Whether the row's own last 8 tokens leave its value as it was."""
    return _one(sample.facts[row], kind) == value


def _one(facts: Any, kind: str) -> str | None:
    fact = facts.get(kind)
    return fact.values[0] if fact is not None and fact.status != "open" and len(fact.values) == 1 else None


def _tried(
    target: Target, layer: int, sample: Sample, probes: ProbeSet, kind: str, drawn: Sequence[Pair], wanted: int
) -> Tried:
    """Pairs in the order drawn, as many at once as are wanted, until the probe tells enough apart."""
    pairs: list[Pair] = []
    vectors: list[Tensor] = []
    by_probe: list[bool] = []
    for start in range(0, len(drawn), wanted):
        if sum(by_probe) >= wanted:
            break
        part = drawn[start : start + wanted]
        both = torch.stack([sample.vectors[[pair.own for pair in part]].float(), _others(target, layer, sample, part)])
        names = [_most_probable(probes, one, [sample.doc_ids[row] for row in rows], kind)
                 for one, rows in zip(both, ([p.own for p in part], [p.other for p in part]), strict=True)]  # fmt: skip
        by_probe += [pair.values == said for pair, said in zip(part, zip(*names, strict=True), strict=True)]
        pairs += part
        vectors.append(both.transpose(0, 1))
    return Tried(pairs, torch.cat(vectors), by_probe)


def _others(target: Target, layer: int, sample: Sample, pairs: Sequence[Pair]) -> Float[Tensor, "n d_model"]:
    """The activations of the second texts."""
    beginnings = [ids_until(target, sample.rows[pair.other])[:-RECENT_TOKENS] for pair in pairs]
    endings = [ids_until(target, sample.rows[pair.own])[-RECENT_TOKENS:] for pair in pairs]
    return streams_behind(target, layer, beginnings, endings, [(place, place) for place in range(len(pairs))])


def _most_probable(probes: ProbeSet, vectors: Tensor, doc_ids: Sequence[str], kind: str) -> list[str]:
    names = probes.classes[kind]
    return [names[place] for place in probes.probability(vectors, doc_ids)[kind].argmax(-1).tolist()]


def _scores(sample: Sample, language: Language, kind: str, tried: Tried, reads: Reads, wanted: int) -> dict[str, Any]:
    chosen = [place for place, told_apart in enumerate(tried.by_probe) if told_apart][:wanted]
    pairs = [tried.pairs[place] for place in chosen]
    rows = [row for pair in pairs for row in (sample.rows[pair.own], _spliced(sample, pair))]
    claims = reads(tried.vectors[chosen].flatten(0, 1), rows) if chosen else []
    said = [set(language.affirmed(own, kind)) for own in claims]
    both = list(zip(pairs, said[::2], said[1::2], strict=True))
    apart = [first == {pair.values[0]} and second == {pair.values[1]} for pair, first, second in both]
    any_ = [_own_alone(first, *pair.values) or _own_alone(second, *pair.values[::-1]) for pair, first, second in both]
    share = lambda hits, of: share_interval(
        np.array(hits, float), np.ones(len(hits)), [sample.doc_ids[pair.own] for pair in of]
    ).as_dict()
    return {
        "n": len(pairs),
        "told_apart": share(apart, pairs),
        "told_apart_any": share(any_, pairs),
        "probe": share(tried.by_probe, tried.pairs),
        "probe_chosen": share([True] * len(pairs), pairs),
        "values": len({value for pair in pairs for value in pair.values}),
        "reason": None if pairs else "the probe tells none of the pairs apart",
    }


def _own_alone(said: set[str], value: str, other: str) -> bool:
    return value in said and other not in said


def _nothing(reason: str) -> dict[str, Any]:
    figures = ("told_apart", "told_apart_any", "probe", "probe_chosen")
    return {"n": 0, **dict.fromkeys(figures), "values": 0, "reason": reason}
