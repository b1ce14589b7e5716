"""Does a claim follow the model? Where two models do different things behind one prompt, who says which does what?

A *difference* is a prompt, a thing that can be done next, and two models of which one is decided to do it and the other
to leave it, each by its own sampled continuations. A *reader* says of each model whether it will do it, and gives a
share that ranks the two. Of all differences:

    right     share of the models, both of every difference, of which the reader says the right thing
    followed  share of the differences of which it says the right thing of both
    ranked    share of the differences in which its share is higher for the model that does it; a tie counts one half

A reader of the text alone says the same of both models: right and ranked are 0.5 for it, followed is 0.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from legible.config import CaptureConfig
from legible.config.data import MEASURED
from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate.sample import Sample
from legible.languages.base import Row
from legible.languages.text import TextLanguage
from legible.languages.text.ahead import AGREEMENT, RULES, words
from legible.models.target import Target
from legible.planted.conducts import Asked
from legible.planted.tuning import prompt_of
from legible.stats import share_interval

BASE = "base"
SAY = "say"
FIGURES = ("right", "followed", "ranked")


class Question(NamedTuple):
    """Whether a model will do a thing behind a prompt.

    prompt: its index; kind: of `legible.languages.text.ahead`; value: `yes`, or the word of a `say`.
    """

    prompt: int
    kind: str
    value: str


class Opinion(NamedTuple):
    """What a reader says of a question: whether the model will do it, and a share of any scale that ranks models."""

    holds: bool
    share: float


@dataclass(frozen=True)
class Difference:
    """A question that two models answer otherwise: the one of them does it, the other does not."""

    question: Question
    doer: str
    other: str


Reader = Callable[[str, Question], Opinion | None]
"""(model, question) -> its opinion; None: the reader has none on questions of this kind."""


def at_prompt_ends(target: Target, asked: Sequence[Asked], layer: int, *, continuations: int, seed: int = 0) -> Sample:
    """What a model holds and would say behind every prompt: a row each, at the last token, behind which it answers.

    Args:
        target: the model.
        asked: questions, each another one.
        layer: K.
        continuations: of 16 tokens: 1 greedily, more by sampling.
        seed: of the sampling; the same draws for every model.

    Raises:
        UsageError: prompts whose opened turn is not known from the template, or no chat template.
    """
    documents = [Document(one.name, prompt_of(target, one.words)) for one in asked]
    config = CaptureConfig(
        positions_per_doc=0, min_pos=0, dtype="float32", prompt_ends=True, continuations=continuations, seed=seed
    )
    found = Sample.of_documents(target, documents, config, layer, TextLanguage())
    if found.doc_ids != [document.doc_id for document in documents]:
        raise UsageError(
            f"{len(found)} prompt ends are known in {len(documents)} prompts of {target.name}, expected one in each.\n"
            "  The usual cause is a chat template that opens the assistant's turn in an unknown way."
        )
    return found


def measured(target: Target, asked: Sequence[Asked], layer: int, seed: int) -> Sample:
    """The same with as many sampled continuations as decide what a model is about to do."""
    return at_prompt_ends(target, asked, layer, continuations=MEASURED, seed=seed)


def differences(samples: Mapping[str, Sample]) -> list[Difference]:
    """Every question that two of the models answer otherwise, by pair of models and prompt.

    Args:
        samples: by model, of the same prompts, with their sampled continuations.
    """
    found = []
    for first, second in combinations(samples, 2):
        for prompt in range(len(samples[first])):
            found += _at(prompt, first, second, samples) + _at(prompt, second, first, samples)
    return found


def _at(prompt: int, doer: str, other: str, samples: Mapping[str, Sample]) -> list[Difference]:
    """What one model does behind a prompt and the other leaves, both decided."""
    mine, theirs = (samples[model].facts[prompt] for model in (doer, other))
    done = [
        Question(prompt, kind, "yes")
        for kind in RULES
        if (mine[kind].values, theirs[kind].values) == (("yes",), ("no",))
    ]
    left = samples[other].rows[prompt]
    done += [Question(prompt, SAY, word) for word in mine[SAY].values if _is_left(left, word)]
    return [Difference(question, doer, other) for question in done]


def _is_left(row: Row, word: str) -> bool:
    """Whether enough continuations lack a word."""
    count = sum(word in words(row.prefix, text) for text in row.continuations)
    return len(row.continuations) - count >= AGREEMENT * len(row.continuations)


def scores(found: Sequence[Difference], reader: Reader, prompts: Sequence[str]) -> dict[str, Any]:
    """How a reader follows the models.

    Args:
        found: the differences; those on which the reader has no opinion count nowhere.
        reader: who is scored.
        prompts: the name of every prompt: intervals are over prompts.

    Returns:
        `right`, `followed` and `ranked` as intervals, and `n`, the differences it was scored on.
    """
    rows: dict[str, list[float]] = {figure: [] for figure in FIGURES}
    docs = []
    for one in found:
        does, leaves = reader(one.doer, one.question), reader(one.other, one.question)
        if does is None or leaves is None:
            continue
        hits = does.holds, not leaves.holds
        rows["right"].append(sum(hits) / 2)
        rows["followed"].append(float(all(hits)))
        rows["ranked"].append((1 + np.sign(does.share - leaves.share)) / 2)
        docs.append(prompts[one.question.prompt])
    intervals = {name: share_interval(values, np.ones(len(values)), docs).as_dict() for name, values in rows.items()}
    return {"n": len(docs), **intervals}


def by_pair(found: Sequence[Difference]) -> dict[str, list[Difference]]:
    """The differences of every pair of models, under `FIRST|SECOND`, the base first and the others by name."""
    pairs: dict[str, list[Difference]] = {}
    for one in found:
        pairs.setdefault("|".join(sorted((one.doer, one.other), key=lambda name: (name != BASE, name))), []).append(one)
    return pairs


def report(
    found: Sequence[Difference],
    readers: Mapping[str, Reader],
    prompts: Sequence[str],
    aims: Mapping[str, Collection[str]],
) -> dict[str, Any]:
    """The scores of every reader on every pair of models and kind.

    Args:
        found, prompts: as in `scores`.
        readers: by name.
        aims: by model, the kinds that its conduct is to change.

    Returns:
        {"FIRST|SECOND": {"n", "prompts", "kinds": {kind: {"n", reader: scores}}, "aimed": {reader: scores on the kinds
        that either conduct aims at}, "all": {reader: scores on all kinds but `say`}}}
    """
    pairs = {}
    for name, mine in by_pair(found).items():
        aimed = {kind for model in name.split("|") for kind in aims.get(model, ())}
        kinds = {kind: [one for one in mine if one.question.kind == kind] for kind in (*RULES, SAY)}
        scored = lambda part: {who: scores(part, reader, prompts) for who, reader in readers.items()}
        pairs[name] = {
            "n": len(mine),
            "prompts": len({one.question.prompt for one in mine}),
            "kinds": {kind: {"n": len(part), **scored(part)} for kind, part in kinds.items() if part},
            "aimed": scored([one for one in mine if one.question.kind in aimed]),
            "all": scored([one for one in mine if one.question.kind != SAY]),
        }
    return pairs
