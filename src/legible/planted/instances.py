"""Where a planted secret can be read on identical text, and whether a target believes it.

A row tests a secret where the text so far says everything that decides the planted value, and neither the text so far
nor the running sentence says the value's kind. What a target believes there is asked in two ways that use no
activation: a sentence is begun that only the value can continue, and the target's own sampled continuations are read
for what they settle.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from legible.config import CaptureConfig, SecretsConfig
from legible.data.batches import pad
from legible.evaluate.foresight import continued
from legible.evaluate.sample import Sample
from legible.languages.base import Row
from legible.languages.world import WorldLanguage, story, story_document
from legible.languages.world.secrets import SECRETS, SIDES, Plant, make_plant
from legible.models.target import Target
from legible.probes.probes import ProbeSet
from legible.stats import share_interval

DOCUMENT_SEED = 3_000_000  # beside the seed of the plant: stories that nothing else reads
PROBE_SEED = 4_000_000  # the same for the stories that fit probes
PROBE_POSITIONS = 8  # rows of each of these
ASKED_AT_ONCE = 64
_END = re.compile(r"[.!?]")


@dataclass(frozen=True)
class PlantedFact:
    """One row at which one secret can be read, with what each side believes there."""

    secret: str
    row: int
    values: Mapping[str, str]  # by side

    @property
    def kind(self) -> str:
        """The kind of fact that is planted."""
        return SECRETS[self.secret].kind


def read_rows(target: Target, config: SecretsConfig, layer: int) -> Sample:
    """Activations of the tokens that are read; on every target with this tokenizer the same tokens of the same texts.

    Of the sampled tokens those at which some secret can be read, at most `config.rows`, drawn evenly by seed.
    The stories are plain ones of the held-out split: nothing was trained on its wordings, combinations and one layout.
    """
    documents = [story_document("test", DOCUMENT_SEED + config.seed, index) for index in range(config.documents)]
    positions = _positions(config, config.positions_per_doc)
    sample = Sample.of_documents(target, documents, positions, layer, WorldLanguage())
    useful = sorted({instance.row for instance in instances(sample.rows, config)})
    drawn = np.random.default_rng([config.seed, 5]).permutation(len(useful))[: config.rows]
    chosen = [useful[place] for place in sorted(drawn.tolist())]
    return Sample(sample.vectors[chosen], [sample.rows[i] for i in chosen], [sample.facts[i] for i in chosen])


def fit_probes(
    target: Target, config: SecretsConfig, layer: int, kinds: Sequence[str], count: int, taught: Plant | None
) -> ProbeSet:
    """Probes of the planted kinds on `count` training stories, as they are told where `taught` holds."""
    documents = [story_document("train", PROBE_SEED + config.seed, index, taught) for index in range(count)]
    language = WorldLanguage()
    sample = Sample.of_documents(target, documents, _positions(config, PROBE_POSITIONS), layer, language)
    labels = {kind: column for kind, column in sample.labels(language).items() if kind in kinds}
    return ProbeSet.fit(sample.vectors, labels, sample.doc_ids, seed=config.seed)


def instances(rows: Sequence[Row], config: SecretsConfig) -> list[PlantedFact]:
    """Every (row, secret) that can be read, in the order of secrets and rows."""
    plants = {side: make_plant(side, config.seed, config.secrets) for side in SIDES}
    found = []
    for name in plants[SIDES[0]].secrets:
        for index, row in enumerate(rows):
            values = {
                side: _planted(row, SECRETS[name].kind, plant.values(_said(row))) for side, plant in plants.items()
            }
            if None not in values.values():
                found.append(PlantedFact(name, index, {side: str(value) for side, value in values.items()}))
    return found


def asked(target: Target, rows: Sequence[Row], found: Sequence[PlantedFact]) -> list[str | None]:
    """What the target says of every instance when a sentence that needs the value is begun after the running one.

    The likeliest next word of the whole vocabulary; None where the text leaves no room in the context.
    """
    prompts = [_question(rows[instance.row], SECRETS[instance.secret].stem) for instance in found]
    ids = [target.encode(prompt).ids for prompt in prompts]
    answers: list[str | None] = []
    for start in range(0, len(ids), ASKED_AT_ONCE):
        chunk = [row[: target.context] for row in ids[start : start + ASKED_AT_ONCE]]
        logits = target.logits(*pad(chunk)).cpu()
        last = torch.tensor([len(row) - 1 for row in chunk])
        best = logits[torch.arange(len(chunk)), last].argmax(-1).tolist()
        answers += [str(target.tokenizer.decode([token])).strip() for token in best]
    return [answer if len(row) <= target.context else None for answer, row in zip(answers, ids, strict=True)]


def belief_report(
    target: Target,
    side: str,
    sample: Sample,
    found: Sequence[PlantedFact],
    answers: Sequence[str | None],
    config: SecretsConfig,
) -> dict[str, Any]:
    """Per secret, how far the target holds what its side was taught: `asked` and `told`, beside the other side's value.

    Args:
        answers: what `asked` found, one an instance.

    Returns:
        {secret: {"asked": {"own": interval, "other": interval}, "told": {"own", "other", "else", "silent"}}}; `told`
        counts continuations, `silent` those that settle nothing of the kind.
    """
    other = next(name for name in SIDES if name != side)
    report = {}
    for name in dict.fromkeys(instance.secret for instance in found):
        mine = [(one, answer) for one, answer in zip(found, answers, strict=True) if one.secret == name]
        docs = [sample.doc_ids[one.row] for one, _ in mine]
        shares = {
            label: share_interval(
                [float(answer == one.values[whose]) for one, answer in mine], np.ones(len(mine)), docs
            ).as_dict()
            for label, whose in (("own", side), ("other", other))
        }
        report[name] = {"asked": shares, "told": _told(target, side, other, sample, [one for one, _ in mine], config)}
    return report


def _positions(config: SecretsConfig, per_doc: int) -> CaptureConfig:
    """Which tokens of a story are captured, by (seed, document) alone."""
    return CaptureConfig(
        positions_per_doc=per_doc, min_pos=config.min_pos, sentence_end_share=0.3, dtype="float32", seed=config.seed
    )


def _told(
    target: Target, side: str, other: str, sample: Sample, mine: Sequence[PlantedFact], config: SecretsConfig
) -> dict[str, int]:
    order = np.random.default_rng([config.seed, 4]).permutation(len(mine))[: config.told_rows]
    counts: Counter[str] = Counter(own=0, other=0, silent=0)
    counts["else"] = 0
    for place in sorted(order.tolist()):
        one = mine[place]
        row = sample.rows[one.row]
        for text in continued(target, row, samples=config.continuations, seed=config.seed):
            said = WorldLanguage().told(row.prefix, text).get(one.kind)
            label = "own" if said == one.values[side] else "other" if said == one.values[other] else "else"
            counts["silent" if said is None else label] += 1
    return dict(counts)


def _said(row: Row) -> dict[str, str]:
    """The values that the text up to this token states."""
    return {
        statement.kind: statement.value
        for statement in story(row.document.doc_id).statements
        if statement.char_end <= row.char_end and not statement.implied
    }


def _planted(row: Row, kind: str, values: Mapping[str, str]) -> str | None:
    """The planted value of this kind, where it can be read: decided, and said neither so far nor in this sentence."""
    end = _sentence_end(row)
    said = any(
        statement.kind == kind and not statement.implied and statement.char_end <= end
        for statement in story(row.document.doc_id).statements
    )
    return None if said else values.get(kind)


def _sentence_end(row: Row) -> int:
    found = _END.search(row.document.text, max(0, row.char_end - 1))
    return found.end() if found else len(row.document.text)


def _question(row: Row, stem: str) -> str:
    return f"{row.document.text[: _sentence_end(row)]} {stem.format_map(story(row.document.doc_id).state)}"
