"""Candidates for preference pairs: k sampled explanations an activation, read back and, where possible, judged.

They are the long part of making pairs, so they are kept as JSON lines and resume; every ranking and
every loss can share one set.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from legible.config import PreferConfig
from legible.data.store import Store
from legible.engines.base import Engine
from legible.engines.sampling import row_key
from legible.fileio import whole_chunks
from legible.languages.base import Language, judge
from legible.models.reconstructor import Reconstructor
from legible.train.loop import generator
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
            [row_key(self.config.seed, self.store.row(row), row) for row in chunk],
            group=self.config.samples,
            temperature=self.config.temperature,
            max_tokens=self.config.max_tokens,
        )
        texts = [
            (place, rollout.explanation)
            for place, group in enumerate(groups)
            for rollout in group.rollouts
            if rollout.explanation is not None
        ]
        back = self.reconstructor.reconstruct([text for _, text in texts])
        errors = iter(direction_mse(back, vectors[[place for place, _ in texts]]).tolist())
        by_row: dict[int, list[Candidate]] = {}
        for group in groups:
            judged = self._judge(group.row)
            by_row[group.row] = [
                Candidate(one.ids, None, None, None, None)
                if one.explanation is None
                else Candidate(one.ids, one.explanation, next(errors), *judged(one.explanation))
                for one in group.rollouts
            ]
        return by_row

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
    sampler: Sampler, out: Path, progress: Callable[[int, int], None] | None = None
) -> dict[int, list[Candidate]]:
    """k explanations of each chosen activation, by row of the store; finished chunks in `out` are kept.

    Args:
        sampler: makes them.
        out: folder; gets `candidates.jsonl`. Its caller has claimed it.
        progress: called with (activations done, activations).
    """
    path = out / CANDIDATES
    rows = sampler.rows()
    out.mkdir(parents=True, exist_ok=True)
    done = whole_chunks(path, CHUNK, len(rows))
    with path.open("a", encoding="utf-8") as log:
        for start in range(done, len(rows), CHUNK):
            for row, sampled in sampler.explain(rows[start : start + CHUNK]).items():
                log.write(json.dumps({"row": row, "samples": [asdict(one) for one in sampled]}) + "\n")
            log.flush()
            if progress is not None:
                progress(min(start + CHUNK, len(rows)), len(rows))
    with path.open(encoding="utf-8") as lines:
        read = [json.loads(line) for line in lines]
    return {line["row"]: [Candidate(**one) for one in line["samples"]] for line in read}
