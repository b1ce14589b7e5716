"""Read texts: the explanation behind each token, its claims with their probabilities, its score, and warnings.

The scores are of the words alone: the reconstructor gets the explanation and nothing else. A score says that the
words carry the activation, not that they are true; that is what `p_true` estimates, where the checkpoint has a
calibrator that applies.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from legible.config import Placement, validated
from legible.documents import Document
from legible.engines import Completion, Engine, Key, make_engine
from legible.engines.sampling import numbered
from legible.errors import UsageError
from legible.languages.base import Parsed, parsed_by
from legible.models.placement import circumstances_part
from legible.models.target import Encoded, Target
from legible.reading.calibration import Judgement
from legible.reading.checkpoint import OTHER_TARGET, Checkpoint
from legible.reading.evidence import Gathered, gather, neighbours_of
from legible.reading.explained import Explained, explained, read_claims, samples_of
from legible.reading.floor import floor_fve
from legible.reading.opening import load_checkpoint
from legible.reading.positions import Positions
from legible.reading.prepared import Prepared, batches, planned, prepare
from legible.reading.reading import ReadClaim, Reading, check_trust, filtered, usual_reason
from legible.reading.scoring import fve_of
from legible.reading.trusted import probabilities, sampling_temperature
from legible.vectors import centered_cosine

TOGETHER = 256
"""Explanations that are asked of the engine in one call; what a token draws does not depend on it."""

__all__ = ["Prepared", "ReadClaim", "Reader", "Reading", "load"]

Progress = Callable[[int, int], None]
"""Takes how many explanations are written, and how many will be."""


def load(
    name: str | Path,
    *,
    target: str | Target | None = None,
    reconstructor: str | None = None,
    other_target: bool = False,
    engine: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "none",
    **options: float,
) -> "Reader":
    """Load a checkpoint for reading; `legible.load` gives the same with everything that a notebook wants.

    Args:
        name: a run's directory, a checkpoint's directory, half a pair (folder or hub name), or a shipped
            pair (`builtin`, `smollm2`).
        target: where the target lies, if not where the contract says, or one that is in memory.
        reconstructor: where the reconstructor lies, if not beside the verbalizer; `none` reads without scores.
        other_target: read `target` even where its weights are not those that the contract names: a finetune, or another
            copy. Every reading has the flag `other_target` then.
        engine: who writes, one of `legible.engines.ENGINES`, such as the search `best-of-n`; absent: the
            checkpoint's own.
        device, dtype, quantize: where the models lie and in which numbers, see `legible.Placement`.
        options: `budget` and `temperature` of a search.

    Raises:
        UsageError: nothing of that name, a contract that does not fit its tokenizer or target, or no such engine.
    """
    place = validated(
        Placement,
        {"device": device, "dtype": dtype, "quantize": quantize},
        "the placement",
        hint="The usual cause is a misspelt value: help(legible.Placement) names those that there are.",
    )
    found = load_checkpoint(name, target=target, reconstructor=reconstructor, other_target=other_target, place=place)
    if engine is None:
        return Reader(found, str(name))
    return Reader(found, str(name), engine=make_engine(found.verbalizer, found.reconstructor, engine, **options))


class Reader:
    """A checkpoint ready to read texts; `engine` writes, the checkpoint's own unless another is given."""

    def __init__(self, checkpoint: Checkpoint, name: str = "", *, engine: Engine | None = None) -> None:
        self.checkpoint = checkpoint
        self.name = name
        self.engine = engine or checkpoint.engine

    def read(self, text: str | Document, **how: Any) -> list[Reading]:
        """One `Reading` for each chosen token of one text; takes what `read_all` takes."""
        document = Document("", text) if isinstance(text, str) else text
        return self.read_all([document], **how)[0]

    def read_all(
        self,
        documents: Sequence[Document],
        *,
        positions: Positions = "all",
        samples: int = 1,
        temperature: float | None = None,
        seed: int = 0,
        trust: float | None = None,
        progress: Progress = lambda done, total: None,
    ) -> list[list[Reading]]:
        """For each text one `Reading` for each chosen token.

        Args:
            documents: what the target reads, each at most its context; where the checkpoint's language knows the facts
                of a document, its claims get their verdicts.
            positions: of each text, see `chosen_positions`; special tokens count.
            samples: explanations per token; the one whose vector comes back best is the reading's.
            temperature: of the sampling; absent: 0 for one sample, 1 for more.
            seed: of the sampling.
            trust: keep only claims of at least this p_true, in [0, 1]; those without one are withheld too.
            progress: called as explanations are written.

        Raises:
            UsageError: an empty or too long text, positions that are not there, samples below 1, or a trust that is
                no probability; of several texts it says which.
        """
        if samples < 1:
            raise UsageError(f"samples is {samples}, expected at least 1.")
        check_trust(trust)
        heat = sampling_temperature(samples, temperature)
        plan = planned(self.checkpoint, documents, positions)
        total = sum(len(one.chosen) for one in plan)
        readings: list[list[Reading]] = []
        done = 0
        for part in batches(plan, TOGETHER):
            prepared = [self.prepare(one.document, one.encoded) for one in part]
            vectors = torch.cat([text.stream[one.chosen] for text, one in zip(prepared, part, strict=True)])
            keys = [key for text, one in zip(prepared, part, strict=True) for key in text.keys(one.chosen, seed)]
            counted = lambda written, _of, before=done: progress(before + written, total)
            written = iter(self._written(vectors, keys, samples, heat, counted))
            for text, one in zip(prepared, part, strict=True):
                completions = [next(written) for _ in one.chosen]
                readings.append(self.readings(text, one.chosen, completions, temperature=heat, trust=trust))
            done += len(vectors)
        return readings

    def explain(
        self,
        vectors: Float[Tensor, "n d_model"],
        *,
        samples: int = 1,
        temperature: float | None = None,
        seed: int = 0,
        progress: Progress = lambda done, total: None,
    ) -> list[Explained]:
        """What is written of raw vectors of which no text is known; their claims have no p_true.

        Args:
            vectors: raw activations of the checkpoint's layer, see `given_vectors`.
            samples, temperature, seed, progress: as in `read_all`.

        Raises:
            UsageError: samples below 1, or vectors of another width.
        """
        if samples < 1:
            raise UsageError(f"samples is {samples}, expected at least 1.")
        heat = sampling_temperature(samples, temperature)
        completions = self._written(vectors, numbered(seed, len(vectors)), samples, heat, progress)
        return explained(self.checkpoint, vectors, completions)

    def prepare(self, document: Document, encoded: Encoded | None = None) -> Prepared:
        """Run the target over a document once; see `legible.reading.prepared.prepare`."""
        return prepare(self.checkpoint, document, encoded)

    def readings(
        self,
        prepared: Prepared,
        chosen: Sequence[int],
        completions: Sequence[Sequence[Completion]],
        *,
        temperature: float,
        trust: float | None = None,
        wanted: Collection[int] | None = None,
        plain: bool = False,
    ) -> list[Reading]:
        """The readings of chosen tokens from what was written for them.

        Args:
            prepared: the text.
            chosen: token positions; those within 2 tokens of each other are neighbours.
            completions: of each of them, equally many.
            temperature: they were sampled at.
            trust: see `read_all`.
            wanted: positions whose readings are asked for, the others only being their neighbours; absent: all.
            plain: explanations and scores without claims, at a lower cost.
        """
        rows = [row for row, pos in enumerate(chosen) if wanted is None or pos in wanted]
        near = neighbours_of([""] * len(chosen), chosen)
        spots = [prepared.spots[pos] for pos in chosen]
        measured = () if plain else rows
        every = gather(self.checkpoint, prepared.stream[list(chosen)], completions, spots, near, leverage=measured)
        gathered = [replace(every[row], claims=(), evidence=(), unparsed=()) if plain else every[row] for row in rows]
        samples = len(gathered[0].completions) if gathered else 1
        opinions = probabilities(self.checkpoint, gathered, samples=samples, temperature=temperature)
        centered = self._centered(prepared, [chosen[row] for row in rows], gathered)
        return [
            filtered(self._reading(prepared, chosen[row], one, judged, cosine), trust, self._parse)
            for row, one, judged, cosine in zip(rows, gathered, opinions, centered, strict=True)
        ]

    def about(self) -> dict[str, Any]:
        """What a report says of the checkpoint: names, layer, V and where it comes from."""
        checkpoint = self.checkpoint
        extra = checkpoint.contract.legible
        return {
            "checkpoint": self.name,
            "target": checkpoint.studied,
            **({OTHER_TARGET: other} if (other := checkpoint.other_target) is not None else {}),
            "layer": checkpoint.layer,
            "variance": checkpoint.variance,
            "language": checkpoint.language.name if checkpoint.language else None,
            "calibrator": extra.calibrator.fitted_on if extra and extra.calibrator else None,
            **circumstances_part(checkpoint.target.model),
        }

    @property
    def longest(self) -> int:
        """Most tokens of an explanation."""
        return self.checkpoint.longest

    def _written(
        self, vectors: Float[Tensor, "n d_model"], keys: Sequence[Key], samples: int, heat: float, progress: Progress
    ) -> list[list[Completion]]:
        step = max(1, TOGETHER // samples)
        completions: list[list[Completion]] = []
        for start in range(0, len(vectors), step):
            rows = slice(start, start + step)
            completions += self.engine.generate(
                vectors[rows], keys[rows], samples=samples, temperature=heat, max_tokens=self.longest
            )
            progress(len(completions), len(vectors))
        return completions

    def _parse(self, text: str) -> Parsed:
        return parsed_by(self.checkpoint.language, text)

    def _centered(
        self, prepared: Prepared, positions: Sequence[int], gathered: Sequence[Gathered]
    ) -> list[float | None]:
        """Centred cosines of the shown explanations, where V is not known and the text is long enough for a mean."""
        reconstructor, mean = self.checkpoint.reconstructor, prepared.mean
        if self.checkpoint.variance is not None or reconstructor is None or mean is None:
            return [None] * len(gathered)
        back = reconstructor.reconstruct([one.explanation or "" for one in gathered])
        cosines = centered_cosine(back, prepared.stream[list(positions)], mean).tolist()
        return [value if one.explanation else None for value, one in zip(cosines, gathered, strict=True)]

    def _reading(
        self, prepared: Prepared, pos: int, one: Gathered, judged: Sequence[Judgement], cosine: float | None
    ) -> Reading:
        variance, mse = self.checkpoint.variance, one.errors[one.best]
        start, end = prepared.encoded.offsets[pos]
        flags = prepared.spots[pos].flags
        return Reading(
            pos=pos,
            token=prepared.text[start:end] or prepared.pieces[pos],
            token_id=prepared.encoded.ids[pos],
            layer=self.checkpoint.layer,
            norm=float(prepared.stream[pos].norm()),
            flags=flags if one.explanation is not None else (*flags, "parse_failed"),
            explanation=one.explanation,
            direction_mse=mse,
            fve_token=fve_of(mse, variance),
            floor_fve=floor_fve(prepared.stream[pos], self.checkpoint.uninformed, variance),
            claims=read_claims(one, judged, prepared.facts.get(pos, {})),
            unparsed=one.unparsed,
            samples=samples_of(one),
            p_true_reason=usual_reason([reason for _, reason in judged]),
            centered_cosine=cosine,
        )
