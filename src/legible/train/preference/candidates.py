"""Candidates for preference pairs: k sampled explanations an activation, read back and, where possible, judged.

They are the long part of making pairs, so they are kept as JSON lines and go on where they stopped; every ranking and
every loss can share one set.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from legible.config import PreferConfig
from legible.data.store import Store
from legible.engines.base import Engine
from legible.errors import UsageError
from legible.fileio import write_json, write_text
from legible.languages.base import Language, judge
from legible.models.reconstructor import Reconstructor
from legible.train.loop import fingerprint, generator
from legible.train.rollouts import roll_out
from legible.vectors import direction_mse

CHUNK = 32  # activations sampled together, and lost at most by a kill
CANDIDATES = "candidates.jsonl"


@dataclass(frozen=True)
class Candidate:
    """One sampled explanation. `ids` end with the stop token; `true` and `wrong` count decided claims."""

    ids: list[int]
    text: str | None  # None: a failed parse
    direction_mse: float | None
    true: int | None  # None: no language decides
    wrong: int | None

    @property
    def truth(self) -> int:
        """True claims less wrong ones; open claims count as wrong."""
        return (self.true or 0) - (self.wrong or 0)


@dataclass(frozen=True)
class Sampler:
    """What makes candidates: a verbalizer's engine, the reconstructor that reads back, and who judges.

    config: rows, samples, temperature, max_tokens and seed; language: judges the claims, None leaves truth out.
    """

    config: PreferConfig
    engine: Engine
    reconstructor: Reconstructor
    store: Store
    layer: int
    language: Language | None

    def rows(self) -> list[int]:
        """The activations that are explained, drawn by seed, in store order."""
        order = torch.randperm(len(self.store), generator=generator(self.config.seed, "pairs"))
        return [int(row) for row in order[: self.config.rows].sort().values]

    def explain(self, chunk: Sequence[int]) -> dict[int, list[Candidate]]:
        """The candidates of some rows; a function of the rows and the seed."""
        vectors = self.store.vectors(chunk, self.layer)
        groups = roll_out(
            self.engine,
            vectors,
            chunk,
            group=self.config.samples,
            temperature=self.config.temperature,
            max_tokens=self.config.max_tokens,
            seed=int(torch.randint(2**62, (), generator=generator(self.config.seed, "candidates", chunk[0]))),
        )
        texts = [
            (place, rollout.explanation)
            for place, group in enumerate(groups)
            for rollout in group.rollouts
            if rollout.explanation is not None
        ]
        back = self.reconstructor.reconstruct([text for _, text in texts])
        errors = iter(direction_mse(back, vectors[[place for place, _ in texts]]).tolist())
        found: dict[int, list[Candidate]] = {}
        for group in groups:
            judged = self._judge(group.row)
            found[group.row] = [
                Candidate(one.ids, None, None, None, None)
                if one.explanation is None
                else Candidate(one.ids, one.explanation, next(errors), *judged(one.explanation))
                for one in group.rollouts
            ]
        return found

    def _judge(self, row: int) -> Callable[[str], tuple[int | None, int | None]]:
        """Counts of true and wrong claims of an explanation of this row; a true denial counts as neither."""
        language = self.language
        if language is None:
            return lambda text: (None, None)
        facts = language.facts(self.store.row(row))

        def count(text: str) -> tuple[int, int]:
            judged = [(claim.polarity, judge(claim, facts)) for claim in language.parse(text).claims]
            wrong = sum(verdict in ("false", "open") for _, verdict in judged)
            return judged.count(("positive", "true")), wrong

        return count


def sample_candidates(
    sampler: Sampler, out: Path, made_by: str, progress: Callable[[int, int], None] | None = None
) -> dict[int, list[Candidate]]:
    """k explanations of each chosen activation, by row of the store; finished chunks in `out` are kept.

    Args:
        sampler: makes them.
        out: folder; gets `candidates.jsonl`.
        made_by: fingerprint of the pair, the store and the language.
        progress: called with (activations done, activations).

    Raises:
        UsageError: `out` holds the candidates of another pair, store or sampling.
    """
    config = sampler.config
    path = out / CANDIDATES
    _claim(path, fingerprint(made_by, config.rows, config.samples, config.temperature, config.max_tokens, config.seed))
    rows = sampler.rows()
    done = _keep_whole_chunks(path, len(rows))
    with path.open("a", encoding="utf-8") as log:
        for start in range(done, len(rows), CHUNK):
            for row, found in sampler.explain(rows[start : start + CHUNK]).items():
                log.write(json.dumps({"row": row, "samples": [asdict(one) for one in found]}) + "\n")
            log.flush()
            if progress is not None:
                progress(min(start + CHUNK, len(rows)), len(rows))
    return {line["row"]: [Candidate(**one) for one in line["samples"]] for line in json_lines(path)}


def _claim(path: Path, made_by: str) -> None:
    """Take the folder for these candidates, or make sure that it is theirs."""
    beside = path.with_name(path.name + ".meta.json")
    if not beside.exists():
        path.unlink(missing_ok=True)
        write_json(beside, {"made_by": made_by})
    found = json.loads(beside.read_text(encoding="utf-8"))["made_by"]
    if found != made_by:
        raise UsageError(
            f"{path} holds the explanations of another checkpoint, store or sampling ({found}, now {made_by}).\n"
            "  The usual cause is a changed option. Give another --pairs folder, or delete this one."
        )


def _keep_whole_chunks(path: Path, rows: int) -> int:
    """Rows of the finished chunks; a torn last line and an unfinished chunk are dropped."""
    if not path.exists():
        return 0
    text = path.read_text(encoding="utf-8")
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    if len(whole) < rows:
        whole = whole[: len(whole) // CHUNK * CHUNK]
    if "".join(whole) != text:
        write_text(path, "".join(whole))
    return len(whole)


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    with path.open(encoding="utf-8") as handle:
        for line in handle:
            yield json.loads(line)
