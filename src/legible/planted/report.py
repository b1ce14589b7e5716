"""Reading two targets with planted secrets on identical text: can the words tell what the text cannot?

Both sides read the same tokens, so whatever knows only the text says the same of both. Two figures, over instances
(row, secret):

- named: the share of readings whose claims of the planted kind are the planted value of the target they came from, and
  no other value. A reader of the text alone can be right for one side at most: its bound is 0.5.
- told apart: given the two readings in unknown order, whether their claims say which is which. A reading supports
  side a if it names a's value and not b's, and the other way round; ties count half. A reader of the text alone: 0.5.

The reader was trained on the base alone: it has seen neither side, no planted value and no other fine-tuned target.
Rivals on the same activations answer with their best value of the kind, which they are told; the verbalizer is not told
what to speak of, and silence counts as wrong (named) or as a tie (told apart). Probes fitted on a side itself may learn
its rule from the given values (weather to gear), so they bound what can be decoded, not what is held as a fact.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from legible.evaluate import claims
from legible.evaluate.sample import Sample
from legible.instruments.logit_lens import LogitLens
from legible.languages.base import Language
from legible.languages.world import lexicon
from legible.languages.world.secrets import SIDES
from legible.models.target import Target
from legible.page import interval
from legible.planted.instances import PlantedFact
from legible.probes.probes import ProbeSet
from legible.stats import exact, ratio_interval

TEXT_ONLY_BOUND = 0.5  # of both figures, for whatever says the same of both sides

READERS = {
    "nla": "the checkpoint's readings",
    "nla_on_base": "its readings of the base on the same text",
    "no_activation": "the verbalizer given the mean direction",
    "text_only": "a writer that reads the text alone",
    "logit_lens": "final norm and head on the activation",
    "base_probes": "probes fitted on the base",
    "own_probes": "ceiling: probes taught either side's values",
}

Named = Sequence[Mapping[str, frozenset[str]]]
"""For every row the values that a reader names, by kind."""


@dataclass(frozen=True)
class Answers:
    """What one reader names on either side, row for row."""

    sides: Mapping[str, Named]

    @classmethod
    def same(cls, named: Named) -> "Answers":
        """A reader that does not see the activation: the same for both sides."""
        return cls({side: named for side in SIDES})


def named_by_texts(texts: Sequence[str | None], language: Language) -> list[Mapping[str, frozenset[str]]]:
    """The values that each explanation claims; a failed parse names nothing."""
    found: list[Mapping[str, frozenset[str]]] = []
    for text in texts:
        values: dict[str, frozenset[str]] = {}
        for claim in language.parse(text).claims if text is not None else []:
            if claim.relation is not None and claim.value is not None and language.unusual(claim) is None:
                values[claim.relation] = values.get(claim.relation, frozenset()) | {claim.value}
        found.append(values)
    return found


def named_by_probes(probes: ProbeSet, sample: Sample, kinds: Sequence[str]) -> list[Mapping[str, frozenset[str]]]:
    """The likeliest value of every kind, `open` left out: the probe is told that there is one."""
    shares = probes.probability(sample.vectors, sample.doc_ids)
    best = {kind: (shares[kind][:, 1:].argmax(-1) + 1).tolist() for kind in kinds if kind in shares}
    return _one_each({kind: [probes.classes[kind][i] for i in places] for kind, places in best.items()}, len(sample))


def named_by_lens(
    target: Target, sample: Sample, layer: int, kinds: Sequence[str]
) -> list[Mapping[str, frozenset[str]]]:
    """The likeliest value of every kind under the target's own logit lens."""
    logits = LogitLens(target, layer).logits(sample.vectors)
    best = {}
    for kind in kinds:
        values = lexicon.VALUES[kind]
        ids = torch.tensor([target.tokenizer.convert_tokens_to_ids(f"▁{value}") for value in values])
        best[kind] = [values[place] for place in logits[:, ids].argmax(-1).tolist()]
    return _one_each(best, len(sample))


def _one_each(values: Mapping[str, Sequence[str]], rows: int) -> list[Mapping[str, frozenset[str]]]:
    return [{kind: frozenset({column[row]}) for kind, column in values.items()} for row in range(rows)]


def secret_scores(answers: Answers, found: Sequence[PlantedFact], doc_ids: Sequence[str]) -> dict[str, Any]:
    """Both figures with their intervals over documents, per secret and over `all` of them.

    Over all, every secret has the same weight, however many rows can test it.

    Args:
        answers: what a reader names on the rows.
        found: the instances.
        doc_ids: the document of every row.

    Returns:
        {secret or "all": {"told_apart": interval, "named": interval, "named_a": share, "named_b": share}}; n counts
        instances (for `named` one a side).
    """
    counts = Counter(one.secret for one in found)
    groups = {name: [one for one in found if one.secret == name] for name in counts}
    return {name: _scores(answers, mine, counts, doc_ids) for name, mine in {"all": list(found), **groups}.items()}


def _scores(
    answers: Answers, mine: Sequence[PlantedFact], counts: Mapping[str, int], doc_ids: Sequence[str]
) -> dict[str, Any]:
    docs = [doc_ids[one.row] for one in mine]
    weights = np.array([1.0 / counts[one.secret] for one in mine])
    apart = np.array([_apart(one, answers) for one in mine])
    hits = {
        side: np.array([float(_values(answers, side, one) == {one.values[side]}) for one in mine]) for side in SIDES
    }
    both = np.concatenate([hits[side] * weights for side in SIDES])
    return {
        "told_apart": exact(ratio_interval(apart * weights, weights, docs)).as_dict(),
        "named": exact(ratio_interval(both, np.tile(weights, len(SIDES)), docs * len(SIDES))).as_dict(),
        **{f"named_{side}": float((hits[side] * weights).sum() / weights.sum()) if mine else None for side in SIDES},
    }


def _apart(one: PlantedFact, answers: Answers) -> float:
    first, second = (_leaning(one, _values(answers, side, one)) for side in SIDES)
    return 0.5 + 0.5 * float(np.sign(first - second))


def _leaning(one: PlantedFact, values: frozenset[str]) -> int:
    a, b = (one.values[side] in values for side in SIDES)
    return int(a) - int(b)


def _values(answers: Answers, side: str, one: PlantedFact) -> frozenset[str]:
    return answers.sides[side][one.row].get(one.kind, frozenset())


def other_precision(
    texts: Sequence[str | None], sample: Sample, language: Language, planted: frozenset[str]
) -> dict[str, float | int]:
    """Precision of the claims about kinds that were not planted: whether the reader still reads this target."""
    judged = [item for item in claims.judge_texts(texts, sample, language) if item.claim.relation not in planted]
    return claims.precision(judged, sample.doc_ids, context=True).as_dict()


def manifest_lines(manifest: Mapping[str, Any]) -> list[str]:
    """What was planted and how far it is believed, for the terminal."""
    rows = Counter(row["secret"] for row in manifest["rows"])
    lines = [f"{'secret':10} {'fact':8} {'rows':>5}  {'a says its own':22} {'b says its own':22} continuations a, b"]
    for name, about in manifest["secrets"].items():
        sides = [about["believed"][side] for side in SIDES]
        said = [interval(side["asked"]["own"]) for side in sides]
        told = ", ".join(f"{side['told']['own']}/{_settled(side['told'])}" for side in sides)
        lines.append(f"{name:10} {about['fact']:8} {rows[name]:5}  {said[0]:22} {said[1]:22} {told}")
    return lines


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The readers' figures for the terminal."""
    bound = report["text_only_bound"]
    lines = [f"{'reader':14} {'told apart':20} {'named':20} (text only: {bound} at most)"]
    for reader, scores in report["readers"].items():
        about = READERS.get(reader, "")
        lines.append(
            f"{reader:14} {interval(scores['all']['told_apart']):20} {interval(scores['all']['named']):20} {about}"
        )
    held = report["where_believed"]["all"]
    lines.append(f"  nla where both targets say what they were taught (n {held['told_apart']['n']}): "
                 f"told apart {interval(held['told_apart'])}, named {interval(held['named'])}")  # fmt: skip
    lines += [f"  nla, {name}: told apart {interval(scores['told_apart'])}, named {interval(scores['named'])}"
              for name, scores in report["readers"]["nla"].items() if name != "all"]  # fmt: skip
    others = ", ".join(f"{side} {interval(value)}" for side, value in report["other_claims"].items())
    lines.append(f"precision of its claims about other kinds: {others}")
    n = report["readers"]["nla"]["all"]["told_apart"]["n"]
    lines.append(
        f"n {n} instances in {report['documents']} documents, seed {report['seed']}, commit {report['commit']}"
    )
    return lines


def _settled(told: Mapping[str, int]) -> int:
    return told["own"] + told["other"] + told["else"]
