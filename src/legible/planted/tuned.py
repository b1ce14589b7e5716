"""Finetunes of one base that behave otherwise on the same prompts, read by a pair trained on the base alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from legible.config.base import Section
from legible.contract import git_commit
from legible.errors import UsageError
from legible.evaluate.sample import Sample
from legible.languages.base import ENDED
from legible.languages.text.ahead import RULES
from legible.models.placement import circumstances_part
from legible.models.target import Target
from legible.planted.conducts import CONDUCTS, READ_MIX, Asked, Conduct, mixed
from legible.planted.following import BASE, Difference, Question, Reader, at_prompt_ends, differences, measured, report
from legible.planted.tuning import TuneConfig, open_tuned, train_conduct
from legible.planted.witnesses import in_words, lens, of_probes, probes, readings
from legible.progress import note
from legible.reading.checkpoint import Checkpoint
from legible.stats import share_interval

MOST_ASKED = 40  # questions of a pair and kind that the models are asked in words


class FollowConfig(Section):
    """What is read, and by how much."""

    conducts: tuple[str, ...] = Field(tuple(CONDUCTS), description="what is trained into the base, each by itself")
    prompts: int = Field(140, description="prompts that are read, the same for every model", ge=1)
    samples: int = Field(5, description="sampled readings of every activation beside the greedy one", ge=1)
    probe_prompts: int = Field(400, description="other prompts, on the base, that fit the probes; 0 leaves them out")
    tune: TuneConfig = Field(TuneConfig(), description="how a conduct is trained")
    seed: int = Field(0, description="seed of prompts, continuations and samples")


def train_all(base: Target, config: FollowConfig, out: Path) -> dict[str, Path]:
    """Train every conduct into OUT/NAME; resumable. Their folders, by name.

    Raises:
        UsageError: an unknown conduct, a base without chat template, or a folder that holds another training.
    """
    if unknown := sorted(set(config.conducts) - set(CONDUCTS)):
        raise UsageError(f"no conduct {', '.join(unknown)}.\n  Choose from {', '.join(CONDUCTS)}.")
    return {name: train_conduct(base, CONDUCTS[name], config.tune, out) for name in config.conducts}


def follow(checkpoint: Checkpoint, name: str, folders: Mapping[str, Path], config: FollowConfig) -> dict[str, Any]:
    """Read the base and its finetunes at the ends of the same prompts, and ask who follows the model.

    Args:
        checkpoint: a pair that was trained on the base alone.
        name: what the report calls it.
        folders: the finetunes, as `train_all` leaves them.
        config: what is read.

    Returns:
        `conducts` {name: `what`, `shows` and `base_shows` (intervals over the prompts of its sorts)}, `pairs` (see
        `following.report`), `prompts` (every prompt with replies, readings and decided kinds by model), `readers`,
        `parse_failures` by model, and where the figures come from.

    Raises:
        UsageError: a base without chat template, or prompts that do not fit its context.
    """
    base, layer = checkpoint.target, checkpoint.layer
    asked = _asked(config)
    targets = {BASE: base, **{one: open_tuned(base, folder, one) for one, folder in folders.items()}}
    samples, greedy = {}, {}
    for model, target in targets.items():
        note(f"follow: continuations of {model}")
        samples[model] = measured(target, asked, layer, config.seed)
        greedy[model] = _replies(at_prompt_ends(target, asked, layer, continuations=1))
    found = differences(samples)
    readers, texts = _readers(checkpoint, targets, samples, asked, found, config)
    prompts = [one.name for one in asked]
    aims = {one: CONDUCTS[one].kinds for one in folders}
    return {
        "kind": "follow",
        "checkpoint": name,
        "base": {"name": base.name, "sha256": base.sha256()},
        "layer": layer,
        "config": config.model_dump(mode="json"),
        "commit": git_commit(),
        **circumstances_part(base.model),
        "readers": list(readers),
        "conducts": {one: _shown(CONDUCTS[one], asked, greedy[one], greedy[BASE]) for one in folders},
        "pairs": report(found, readers, prompts, aims),
        "parse_failures": {model: sum(text is None for text in lines) for model, lines in texts.items()},
        "prompts": [_about(place, one, samples, greedy, texts) for place, one in enumerate(asked)],
    }


def _asked(config: FollowConfig) -> list[Asked]:
    """The prompts that are read, each once."""
    return list(dict.fromkeys(mixed("read", READ_MIX, config.prompts, config.seed)))


def _readers(
    checkpoint: Checkpoint,
    targets: Mapping[str, Target],
    samples: Mapping[str, Sample],
    asked: Sequence[Asked],
    found: Sequence[Difference],
    config: FollowConfig,
) -> tuple[dict[str, Reader], dict[str, list[str | None]]]:
    """Every reader by name, and the greedy readings by model."""
    base, layer = targets[BASE], checkpoint.layer
    vectors = {model: sample.vectors for model, sample in samples.items()}
    prompts = [one.name for one in asked]
    wanted = list(dict.fromkeys((model, one.question) for one in found for model in (one.doer, one.other)))
    note(f"follow: reading {len(asked)} prompts of {len(targets)} models")
    readers, texts = readings(checkpoint, vectors, wanted, samples=config.samples, seed=config.seed)
    readers["logit_lens"] = lens(base, layer, vectors)
    if config.probe_prompts:
        note("follow: probes of the base")
        others = list(dict.fromkeys(mixed("train", READ_MIX, config.probe_prompts, config.seed)))
        fitted = probes(at_prompt_ends(base, others, layer, continuations=1), vectors, prompts, config.seed)
        if fitted is not None:
            readers["probes"] = fitted
    if checkpoint.probes is not None:
        readers["checkpoint_probes"] = of_probes(checkpoint.probes, vectors, prompts)
    note("follow: the models asked in words")
    readers["asked"] = in_words(targets, asked, _few(found, config.seed))
    return readers, texts


def _few(found: Sequence[Difference], seed: int) -> list[tuple[str, Question]]:
    """Of the base and each finetune some questions of every kind, drawn by seed, to be put to both."""
    groups: dict[tuple[str, ...], list[Difference]] = {}
    for one in found:
        if BASE in (one.doer, one.other):
            groups.setdefault((*sorted((one.doer, one.other)), one.question.kind), []).append(one)
    chosen: dict[tuple[str, Question], None] = {}
    for several in groups.values():
        for place in np.random.default_rng([seed, 6]).permutation(len(several))[:MOST_ASKED].tolist():
            one = several[place]
            chosen |= dict.fromkeys([(one.doer, one.question), (one.other, one.question)])
    return list(chosen)


def _replies(sample: Sample) -> list[str]:
    return [row.continuations[0] if row.continuations else "" for row in sample.rows]


def _shown(conduct: Conduct, asked: Sequence[Asked], tuned: Sequence[str], own: Sequence[str]) -> dict[str, Any]:
    """On how many prompts of its sorts a conduct shows in greedy replies: the finetune's, and the base's."""
    places = [place for place, one in enumerate(asked) if one.sort in conduct.sorts]

    def share(replies: Sequence[str]) -> dict[str, Any]:
        hits = [float(conduct.shows(asked[place], replies[place], own[place])) for place in places]
        return share_interval(hits, np.ones(len(hits)), [asked[place].name for place in places]).as_dict()

    return {"what": conduct.what, "kinds": list(conduct.kinds), "shows": share(tuned), "base_shows": share(own)}


def _about(
    place: int,
    one: Asked,
    samples: Mapping[str, Sample],
    greedy: Mapping[str, Sequence[str]],
    texts: Mapping[str, Sequence[str | None]],
) -> dict[str, Any]:
    """A prompt with what every model does behind it, and how it is read."""
    models = {
        model: {
            "reply": greedy[model][place].removesuffix(ENDED),
            "does": [kind for kind in RULES if sample.facts[place][kind].values == ("yes",)],
            "reading": texts[model][place],
        }
        for model, sample in samples.items()
    }
    return {"asked": one.words, "sort": one.sort, "models": models}
