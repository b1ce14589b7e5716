"""Offline preference training: pairs of a checkpoint's own explanations, a better checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legible.config import PreferConfig
from legible.errors import UsageError
from legible.identity import Identity, claim, finish
from legible.progress import line_progress
from legible.recipes.pair import pair_of
from legible.recipes.stages.training import FromCheckpoint
from legible.train.preference.candidates import Sampler, sample_candidates
from legible.train.preference.pairs import RankedPair, pick_pairs, write_pairs
from legible.train.preference.training import train_preference

SAMPLING = ("rows", "samples", "temperature", "max_tokens", "seed")  # what the candidates depend on
RANKING = ("rank_by", "length_window", "length_balance")  # and what picks pairs from them


@dataclass(frozen=True, kw_only=True)
class Prefer(FromCheckpoint):
    """Train the verbalizer of a checkpoint on ranked explanations; it is the warm start and the reference.

    pairs: folder of the candidates and pairs, which several trainings may share; absent: OUT/pairs.
    """

    section = "prefer"
    config: PreferConfig
    pairs: Path | None = None

    def __post_init__(self) -> None:
        """Refuse now what would fail after hours.

        Raises:
            UsageError: nothing that ranks, or `select_by` is no measure.
        """
        super().__post_init__()
        if self.config.rank_by != "mse" and self.checkpoint.language is None:
            raise UsageError(
                f"--rank-by {self.config.rank_by} needs a language that decides claims, and {self.checkpoint.path} "
                "has none.\n  Choose --rank-by mse."
            )

    def work(self, out: Path, made_by: str) -> dict[str, Any]:
        """Make the pairs, train on them and assemble the checkpoint; returns what was counted.

        Raises:
            UsageError: `pairs` holds the explanations of another checkpoint, store or sampling.
            TrainingError: no two explanations differ in rank.
        """
        found, lookup, roles = self.checkpoint, self.lookup(out), pair_of(self.checkpoint)
        pairs, counts = self._make_pairs(self.pairs or out / "pairs")
        measure = self.measure(lookup)
        given = (self.config, *roles, found.layer, self.store, pairs, measure, out)
        result = train_preference(*given, made_by=made_by)
        self.leave(out, roles, lookup)
        summary = {key: value for key, value in vars(result).items() if key not in ("parse_failures", "skipped_groups")}
        return {**summary, "pairs": counts}

    def _make_pairs(self, folder: Path) -> tuple[list[RankedPair], dict[str, Any]]:
        """Candidates in `folder` (kept, shared by every ranking), and the pairs that the configuration picks."""
        found, config = self.checkpoint, self.config
        sampled = config.model_dump(mode="json", include=set(SAMPLING))
        identity = Identity("prefer", {"prefer": sampled, "store": self.store.sha256, **found.parts})
        claim(folder, identity)
        _, reconstructor = pair_of(found)
        sampler = Sampler(config, found.engine, reconstructor, self.store, found.layer, found.language)
        candidates = sample_candidates(sampler, folder, line_progress("explanations for pairs"))
        finish(folder, identity)
        pairs, counts = pick_pairs(candidates, config)
        picked_by = Identity("prefer", config.model_dump(mode="json", include=set(RANKING))).digest[:8]
        write_pairs(folder / f"pairs-{config.rank_by}-{picked_by}.jsonl", pairs, counts)
        return pairs, counts
