"""`legible evaluate --instruments`: train what is missing, measure what is not measured yet, keep every row.

    FOLDER/NAME-ID.safetensors   what an instrument learned, fitted on the documents that fit the probes
    FOLDER/rows/NAME-ID.json     its row of the report, and its true claims

An id is that of everything the file (of some instruments a folder) depends on. After a kill, the same command measures
the rest alone.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from legible.config import EvalConfig
from legible.contract import git_commit
from legible.errors import UnsupportedModelError, UsageError
from legible.evaluate.bench import Bench
from legible.evaluate.rivals.court import Court
from legible.evaluate.rivals.figures import Named
from legible.evaluate.rivals.pair import PAIR, ROWS, pair_offers
from legible.evaluate.run import METRICS_VERSION, bench_of
from legible.evaluate.sample import Sample
from legible.fileio import content_sha256, finite, write_json
from legible.identity import Identity, once
from legible.instruments import INSTRUMENTS, Offer, Setting
from legible.models.placement import circumstances_part
from legible.progress import line_progress
from legible.reading.checkpoint import Checkpoint
from legible.recipes.controls import controls_folder
from legible.recipes.stages.measuring import Evaluate
from legible.train.instruments import train_instrument

FOLDER = "instruments"


def chosen(names: str) -> list[str]:
    """The rows that `all` or a list such as `probes,logit-lens` asks for, in the report's order; the pair first.

    Raises:
        UsageError: there is no such instrument.
    """
    wanted = list(ROWS) if names == "all" else [part.strip() for part in names.split(",") if part.strip()]
    if unknown := [name for name in wanted if name not in ROWS]:
        raise UsageError(f"no instrument {unknown[0]!r}: expected all, or some of {', '.join(ROWS)}.")
    return [name for name in ROWS if name == PAIR or name in wanted]


def weights_given(pairs: list[str]) -> dict[str, Path]:
    """The files of `NAME=FILE`, by the instrument's name.

    Raises:
        UsageError: another form, an instrument that has no file, or no such file.
    """
    found = {}
    for text in pairs:
        name, _, file = text.partition("=")
        trained = [one for one, offer in INSTRUMENTS.items() if offer.trained]
        if name not in trained or not file:
            raise UsageError(f"--weights is {text!r}, expected NAME=FILE with one of {', '.join(trained)}.")
        if not Path(file).exists():
            raise UsageError(f"no file {file}.\n  Make it: legible instrument {name} MODEL STORE --out {file}")
        found[name] = Path(file)
    return found


def evaluate_instruments(
    checkpoint: Checkpoint,
    name: str,
    config: EvalConfig,
    corpus: str | None,
    names: str,
    *,
    folder: Path | None = None,
    weights: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Measure instruments on the same held-out rows as the pair.

    Args:
        checkpoint, name, config, corpus: as for `Evaluate`.
        names: see `chosen`.
        folder: where rows and weights are kept; absent: `instruments/` of the run, or a cache folder of the checkpoint.
        weights: files of trained instruments in place of those that are trained here.

    Returns:
        `instruments` (one object per row, see `Court.measured`), `checkpoint`, `target`, `layer`, `language`, `rows`,
        `documents`, `probe_rows`, `variance`, `seed`, `commit`, `metrics_version`.

    Raises:
        UsageError: no such instrument, or as for `Evaluate`.
    """
    wanted = chosen(names)
    held = Evaluate(checkpoint, name, config, corpus)
    capture, documents, pool = held.drawn()
    bench = bench_of(checkpoint, config, capture, documents, pool, lambda stage: _say(stage))
    measured = Rivals(checkpoint, bench, config, folder or controls_folder(checkpoint, FOLDER), weights or {})
    report = {
        "instruments": measured.rows(wanted),
        "checkpoint": name,
        "target": checkpoint.studied,
        "layer": checkpoint.layer,
        "language": bench.language.name if bench.language is not None else None,
        "rows": len(bench.sample),
        "documents": len(set(bench.sample.doc_ids)),
        "probe_rows": bench.probes.rows if bench.probes is not None else 0,
        "variance": bench.variance,
        "seed": config.seed,
        "commit": git_commit(),
        "metrics_version": METRICS_VERSION,
        **circumstances_part(checkpoint.target.model),
    }
    return held.warned(report)


@dataclass(frozen=True)
class Rivals:
    """The instruments of one report over one bench, with what was measured of them before."""

    checkpoint: Checkpoint
    bench: Bench
    config: EvalConfig
    folder: Path
    weights: Mapping[str, Path]

    def rows(self, names: list[str]) -> list[dict[str, Any]]:
        """The report's rows, the pair's first; each is kept as soon as it is measured."""
        pair: Named | None = None
        found = []
        for name in names:
            row, named = self._row(self._offers[name], pair)
            pair = named if name == PAIR else pair
            found.append(row)
        return found

    def _row(self, offer: Offer, pair: Named | None) -> tuple[dict[str, Any], Named]:
        setting = self._setting
        if offer.trained:
            try:
                setting = replace(setting, weights=self._trained(offer.name))
            except (UsageError, UnsupportedModelError) as error:
                _say(f"{offer.name} cannot be trained: {error}")
        file = self.folder / "rows" / f"{offer.name}-{self._identity(offer, setting).digest}.json"
        if not file.is_file():
            _say(f"instrument: {offer.name}")
            row, named = self._court.measured(offer, setting, pair)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {"row": finite(row), "named": named})
        kept = json.loads(file.read_text(encoding="utf-8"))
        return kept["row"], kept["named"]

    def _trained(self, name: str) -> Path:
        """The file of a trained instrument, given or made here once."""
        if name in self.weights:
            return self.weights[name]
        parts = {
            "target": self.checkpoint.target.sha256(), "layer": self.checkpoint.layer,
            "rows": self._digests["others"], "seed": self.config.seed,
        }  # fmt: skip
        made = Identity(f"instrument {name}", parts, beside=True)
        out = self.folder / f"{name}-{made.digest}{'' if INSTRUMENTS[name].folder else '.safetensors'}"
        self.folder.mkdir(parents=True, exist_ok=True)
        once(out, made, lambda: train_instrument(name, self._setting, out, line_progress(f"train {name}")))
        return out

    def _identity(self, offer: Offer, setting: Setting) -> Identity:
        parts = {
            **self.checkpoint.parts, **self._digests, "config": self.config, "version": METRICS_VERSION,
            "weights": content_sha256(setting.weights) if setting.weights is not None else None,
        }  # fmt: skip
        return Identity(f"evaluate --instruments {offer.name}", parts)

    @cached_property
    def _offers(self) -> dict[str, Offer]:
        seed, max_tokens = self.config.seed, self.config.max_tokens
        return {**pair_offers(self.checkpoint, self.bench, max_tokens=max_tokens, seed=seed), **INSTRUMENTS}

    @cached_property
    def _setting(self) -> Setting:
        bench, checkpoint = self.bench, self.checkpoint
        return Setting(
            checkpoint.target, checkpoint.layer, bench.language, others=bench.pool, probes=bench.probes,
            lookup=bench.lookup, seed=self.config.seed,
        )  # fmt: skip

    @cached_property
    def _court(self) -> Court:
        return Court(self.checkpoint.target, self.checkpoint.layer, self.bench, self.config)

    @cached_property
    def _digests(self) -> dict[str, str | None]:
        """Of the rows that are read, and of those that instruments are made from."""
        return {"sample": _digest(self.bench.sample), "others": _digest(self.bench.pool)}


def _digest(sample: Sample | None) -> str | None:
    """A name of rows by their documents and places."""
    if sample is None:
        return None
    digest = hashlib.sha256()
    for row in sample.rows:
        digest.update(json.dumps([row.document.doc_id, row.pos, row.prefix]).encode())
    return digest.hexdigest()


def _say(message: str) -> None:
    print(f"evaluate: {message}", file=sys.stderr, flush=True)
