"""Read a planted pair with a checkpoint of its base, beside readers that have only the text, or no words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legible.config import AUTO, Placement, SFTConfig
from legible.contract import git_commit
from legible.evaluate.controls import mean_direction
from legible.evaluate.reconstruction import explain
from legible.evaluate.sample import Sample
from legible.languages.world import WorldLanguage
from legible.languages.world.secrets import SIDES, make_plant
from legible.models.placement import circumstances_part
from legible.models.target import Target
from legible.planted.instances import PlantedFact, fit_probes, read_rows
from legible.planted.plant import PlantedPair, open_pair, recorded_instances, say
from legible.planted.report import (
    TEXT_ONLY_BOUND,
    Answers,
    named_by_lens,
    named_by_probes,
    named_by_texts,
    other_precision,
    secret_scores,
)
from legible.reading.checkpoint import Checkpoint
from legible.train.text_writer import TextWriter

BASE, NLA = "base", "nla"


def read_secrets(
    checkpoint: Checkpoint,
    name: str,
    folder: Path,
    *,
    probe_documents: int = 400,
    max_tokens: int = 96,
    writer: Path | None = None,
    place: Placement = AUTO,
) -> dict[str, Any]:
    """Read both targets of a planted pair on identical text, beside readers that have only the text or no words.

    Args:
        checkpoint: a reader of the base that the pair was made from.
        name: what the report calls it.
        folder: what `plant` left.
        probe_documents: stories that fit the probes, on the base and on either side; 0 leaves the probes out.
        max_tokens: longest explanation.
        writer: folder of a text-only writer trained on the base's rows; absent, only its bound is shown.
        place: where both sides lie, and how their weights are held: as the checkpoint's target.

    Returns:
        `text_only_bound`, `readers` {name: scores of `secret_scores`}, `where_believed` (the readings' scores at the
        rows where either target, asked, says its own value), `believed` (the manifest's), `other_claims` (precision
        on kinds that were not planted, on the base and either side), `parse_failures`, `rows`, `documents`.

    Raises:
        UsageError: no planted pair, or a checkpoint of another base.
    """
    pair = open_pair(folder, checkpoint, place)
    base, layer = checkpoint.target, checkpoint.layer
    targets = {**pair.targets, BASE: base}
    samples = {side: read_rows(target, pair.config, layer) for side, target in targets.items()}
    found = recorded_instances(pair, samples[BASE])
    texts: dict[str, list[str | None]] = {}
    for side, sample in samples.items():
        say(f"reading {len(sample)} tokens of target {side}")
        texts[side] = explain(checkpoint.engine, sample.vectors, max_tokens=max_tokens).texts
    language, kinds = WorldLanguage(), sorted({one.kind for one in found})
    named = {side: named_by_texts(lines, language) for side, lines in texts.items()}
    answers = {NLA: Answers({side: named[side] for side in SIDES}), "nla_on_base": Answers.same(named[BASE])}
    answers |= _blind(checkpoint, samples[BASE], writer, max_tokens, pair.config.seed)
    lens = {side: named_by_lens(pair.targets[side], samples[side], layer, kinds) for side in SIDES}
    answers |= {"logit_lens": Answers(lens)}
    if probe_documents:
        answers |= _probes(pair, base, layer, samples, kinds, probe_documents)
    docs = samples[BASE].doc_ids
    return {
        "kind": "secrets",
        "checkpoint": name,
        "base": base.sha256(),
        "layer": layer,
        "seed": pair.config.seed,
        "commit": git_commit(),
        **circumstances_part(base.model),
        "rows": len(docs),
        "documents": len(set(docs)),
        "text_only_bound": TEXT_ONLY_BOUND,
        "readers": {reader: secret_scores(given, found, docs) for reader, given in answers.items()},
        "where_believed": secret_scores(answers[NLA], _believed(pair, found), docs),
        "believed": {name: about["believed"] for name, about in pair.manifest["secrets"].items()},
        "other_claims": {
            side: other_precision(texts[side], sample, language, frozenset(kinds)) for side, sample in samples.items()
        },
        "parse_failures": {side: sum(text is None for text in lines) for side, lines in texts.items()},
    }


def _believed(pair: PlantedPair, found: Sequence[PlantedFact]) -> list[PlantedFact]:
    """The instances at which either target, asked, says what it was taught."""
    rows = pair.manifest["rows"]
    return [one for one, row in zip(found, rows, strict=True) if all(row["says"][side] == row[side] for side in SIDES)]


def _blind(
    checkpoint: Checkpoint, sample: Sample, writer: Path | None, max_tokens: int, seed: int
) -> dict[str, Answers]:
    """Readers that do not see the activation, so that they say the same of both sides."""
    language, found = WorldLanguage(), {}
    if checkpoint.lookup is not None:
        floor = _without_activation(checkpoint, sample, max_tokens, seed)
        found["no_activation"] = Answers.same(named_by_texts(floor, language))
    if writer is not None:
        say("the text-only writer")
        written = TextWriter.load(writer, checkpoint.target, SFTConfig()).write(sample.rows, max_tokens=max_tokens)
        found["text_only"] = Answers.same(named_by_texts([text for text, _ in written], language))
    return found


def _without_activation(checkpoint: Checkpoint, sample: Sample, max_tokens: int, seed: int) -> list[str | None]:
    """What the verbalizer says when it is given the mean direction, sampled anew for every row."""
    assert checkpoint.lookup is not None
    vector = mean_direction(checkpoint.lookup) * sample.vectors.norm(dim=-1).mean()
    vectors = vector.expand(len(sample), -1)
    return explain(checkpoint.engine, vectors, max_tokens=max_tokens, temperature=1.0, seed=seed).texts


def _probes(
    pair: PlantedPair, base: Target, layer: int, samples: dict[str, Sample], kinds: Sequence[str], count: int
) -> dict[str, Answers]:
    """Probes fitted on the base, and, as a ceiling, on either side's own activations and beliefs."""
    config = pair.config
    say("fitting probes on the base")
    of_base = fit_probes(base, config, layer, kinds, count, None)
    own = {}
    for side, target in pair.targets.items():
        say(f"fitting probes on target {side}")
        own[side] = fit_probes(target, config, layer, kinds, count, make_plant(side, config.seed, config.secrets))
    return {
        "base_probes": Answers({side: named_by_probes(of_base, samples[side], kinds) for side in SIDES}),
        "own_probes": Answers({side: named_by_probes(own[side], samples[side], kinds) for side in SIDES}),
    }
