"""Read a text: the explanation behind each token, its claims with their probabilities, its score, and warnings.

The scores are of the words alone: the reconstructor gets the explanation and nothing else. A score says that the
words carry the activation, not that they are true; that is what `p_true` estimates, where the checkpoint has a
calibrator that may speak.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from legible.config import CaptureConfig, Placement, validated
from legible.documents import Document
from legible.engines import Completion, Engine, Key, make_engine
from legible.engines.sampling import place_key
from legible.errors import UsageError
from legible.languages.base import Fact, Parsed, judge, parsed_by
from legible.models.placement import circumstances_part
from legible.models.target import Encoded
from legible.reading.calibration import Judgement
from legible.reading.checkpoint import OTHER_TARGET, Checkpoint
from legible.reading.evidence import Gathered, Spot, gather, neighbours_of
from legible.reading.flags import text_flags
from legible.reading.floor import floor_fve
from legible.reading.opening import load_checkpoint
from legible.reading.positions import parse_positions
from legible.reading.reading import ReadClaim, Reading, check_trust, filtered, usual_reason
from legible.reading.rows import rows_of, with_expectations
from legible.reading.trusted import probabilities, sampling_temperature
from legible.vectors import centered_cosine, fve_token, unit

ENOUGH = 16  # tokens of a text whose mean direction stands in for that of many texts

__all__ = ["Prepared", "ReadClaim", "Reader", "Reading", "load"]


@dataclass(frozen=True)
class Prepared:
    """A text ready to be read: its tokens, every token's activation, place and warnings, and what holds there."""

    text: str
    encoded: Encoded
    pieces: tuple[str, ...]
    stream: Float[Tensor, "tokens d_model"]
    spots: tuple[Spot, ...]
    facts: Mapping[int, Mapping[str, Fact]]

    @property
    def mean(self) -> Float[Tensor, " d_model"] | None:
        """Mean direction of the text's ordinary tokens; None where there are too few for one."""
        usual = [spot.pos for spot in self.spots if not {"special_token", "norm_outlier"} & set(spot.flags)]
        return unit(self.stream[usual]).mean(0) if len(usual) >= ENOUGH else None

    def keys(self, chosen: Sequence[int], seed: int) -> list[Key]:
        """What decides the draws at these tokens: the seed and the text up to each, whichever others are read."""
        return [place_key(seed, self.text[: self.encoded.offsets[pos][1]], pos) for pos in chosen]


def load(
    name: str | Path,
    *,
    target: str | None = None,
    reconstructor: str | None = None,
    engine: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "none",
    **options: float,
) -> "Reader":
    """Load a checkpoint for reading.

    Args:
        name: a run's directory, a checkpoint's directory, half a pair (folder or hub name), or `builtin`.
        target: where the target lies, if not where the contract says.
        reconstructor: where the reconstructor lies, if not beside the verbalizer; `none` reads without scores.
        engine: who writes, one of `legible.engines.ENGINES`, such as the search `best-of-n`; absent: the
            checkpoint's own.
        device, dtype, quantize: where the models lie and in which numbers, see `legible.Placement`.
        options: `budget` and `temperature` of a search.

    Raises:
        UsageError: nothing of that name, a contract that does not fit its tokenizer or target, or no such engine.

    Example:
        >>> load("builtin").read("Our hero Pavel rested beside the desert.")[-1].explanation  # doctest: +SKIP
    """
    place = validated(
        Placement,
        {"device": device, "dtype": dtype, "quantize": quantize},
        "the placement",
        hint="The usual cause is a misspelt value: help(legible.Placement) names those that there are.",
    )
    found = load_checkpoint(name, target=target, reconstructor=reconstructor, place=place)
    if engine is None:
        return Reader(found, str(name))
    return Reader(found, str(name), engine=make_engine(found.verbalizer, found.reconstructor, engine, **options))


class Reader:
    """A checkpoint ready to read texts; `engine` writes, the checkpoint's own unless another is given."""

    def __init__(self, checkpoint: Checkpoint, name: str = "", *, engine: Engine | None = None) -> None:
        self.checkpoint = checkpoint
        self.name = name
        self.engine = engine or checkpoint.engine

    def read(
        self,
        text: str | Document,
        *,
        positions: str = "all",
        samples: int = 1,
        temperature: float | None = None,
        seed: int = 0,
        trust: float | None = None,
    ) -> list[Reading]:
        """One `Reading` for each chosen token.

        Args:
            text: what the target reads, at most its context; where the checkpoint's language knows the facts of a
                document, its claims get their verdicts.
            positions: 'all', '-1', '3,5' or a slice such as '4:9'; special tokens count.
            samples: explanations per token; the one whose vector comes back best is the reading's.
            temperature: of the sampling; absent: 0 for one sample, 1 for more.
            seed: of the sampling.
            trust: keep only claims of at least this p_true, in [0, 1]; those without one are withheld too.

        Raises:
            UsageError: an empty or too long text, positions that are not there, samples below 1, or a trust that is
                no probability.
        """
        document = Document("", text) if isinstance(text, str) else text
        if samples < 1:
            raise UsageError(f"samples is {samples}, expected at least 1.")
        check_trust(trust)
        encoded = self._encode(document.text)
        chosen = parse_positions(positions, len(encoded.ids))
        prepared = self.prepare(document, encoded)
        heat = sampling_temperature(samples, temperature)
        completions = self.engine.generate(
            prepared.stream[chosen],
            prepared.keys(chosen, seed),
            samples=samples,
            temperature=heat,
            max_tokens=self.longest,
        )
        return self.readings(prepared, chosen, completions, temperature=heat, trust=trust)

    def prepare(self, document: Document, encoded: Encoded | None = None) -> Prepared:
        """Run the target over a document once.

        Raises:
            UsageError: an empty or too long text.
        """
        encoded = self._encode(document.text) if encoded is None else encoded
        ids = torch.tensor([encoded.ids])
        layer = self.checkpoint.layer
        stream = self.checkpoint.target.streams(ids, torch.ones_like(ids), (layer,))[layer][0].cpu()
        pieces = tuple(self.checkpoint.target.tokenizer.convert_ids_to_tokens(encoded.ids))
        language = self.checkpoint.language
        left = language.left_at(document.text) if language is not None else None
        flags = text_flags(encoded, pieces, stream.norm(dim=-1), self._sampled().min_pos, left)
        if self.checkpoint.other_target is not None:
            flags = [(*own, OTHER_TARGET) for own in flags]
        rows = {row.pos: row for row in rows_of(document, encoded.ids, encoded.offsets)} if language else {}
        if rows and self._sampled().predictions:
            seen = with_expectations(
                self.checkpoint.target, encoded.ids, list(rows.values()), self._sampled().predictions
            )
            rows = {row.pos: row for row in seen}
        return Prepared(
            text=document.text,
            encoded=encoded,
            pieces=pieces,
            stream=stream,
            spots=tuple(Spot(pos, own, rows.get(pos)) for pos, own in enumerate(flags)),
            facts={pos: language.facts(row) for pos, row in rows.items()} if language else {},
        )

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
            trust: see `read`.
            wanted: positions whose readings are asked for, the others only being their neighbours; absent: all.
            plain: explanations and scores without claims, at a lower cost.
        """
        rows = [row for row, pos in enumerate(chosen) if wanted is None or pos in wanted]
        near = neighbours_of([""] * len(chosen), chosen)
        spots = [prepared.spots[pos] for pos in chosen]
        measured = () if plain else rows
        every = gather(self.checkpoint, prepared.stream[list(chosen)], completions, spots, near, leverage=measured)
        gathered = [replace(every[row], claims=(), evidence=(), unparsed=()) if plain else every[row] for row in rows]
        opinions = self.opinions(gathered, temperature)
        centered = self._centered(prepared, [chosen[row] for row in rows], gathered)
        return [
            filtered(self._reading(prepared, chosen[row], found, mine, cosine), trust, self._parse)
            for row, found, mine, cosine in zip(rows, gathered, opinions, centered, strict=True)
        ]

    def opinions(self, gathered: Sequence[Gathered], temperature: float) -> list[list[Judgement]]:
        """p_true of every claim, or why it has none."""
        samples = len(gathered[0].completions) if gathered else 1
        return probabilities(self.checkpoint, gathered, samples=samples, temperature=temperature)

    def claims(
        self, found: Gathered, opinions: Sequence[Judgement], facts: Mapping[str, Fact]
    ) -> tuple[ReadClaim, ...]:
        """The claims of one reading as they are shown."""
        return tuple(
            ReadClaim(
                **vars(claim),
                p_true=p_true,
                verdict=judge(claim, facts),
                agreement=evidence.agreement,
                leverage=evidence.leverage,
                recurrence=evidence.recurrence,
                probe=evidence.probe,
            )
            for claim, evidence, (p_true, _) in zip(found.claims, found.evidence, opinions, strict=True)
        )

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

    def _encode(self, text: str) -> Encoded:
        target = self.checkpoint.target
        encoded = target.encode(text)
        if len(encoded.ids) > target.context:
            raise UsageError(
                f"the text has {len(encoded.ids)} tokens, the target's context is {target.context}.\n"
                "  Read a part of it: nothing is cut off in silence."
            )
        return encoded

    def _sampled(self) -> CaptureConfig:
        """Which positions the pair was trained on; the contract's defaults where it does not say."""
        extra = self.checkpoint.contract.legible
        return CaptureConfig.from_positions(extra.variance.positions if extra and extra.variance else "")

    def _parse(self, text: str) -> Parsed:
        return parsed_by(self.checkpoint.language, text)

    def _centered(
        self, prepared: Prepared, positions: Sequence[int], gathered: Sequence[Gathered]
    ) -> list[float | None]:
        """Centred cosines of the shown explanations, where V is not known and the text is long enough for a mean."""
        reconstructor, mean = self.checkpoint.reconstructor, prepared.mean
        if self.checkpoint.variance is not None or reconstructor is None or mean is None:
            return [None] * len(gathered)
        back = reconstructor.reconstruct([found.explanation or "" for found in gathered])
        cosines = centered_cosine(back, prepared.stream[list(positions)], mean).tolist()
        return [value if found.explanation else None for value, found in zip(cosines, gathered, strict=True)]

    def _reading(
        self,
        prepared: Prepared,
        pos: int,
        found: Gathered,
        opinions: Sequence[Judgement],
        cosine: float | None,
    ) -> Reading:
        variance, mse = self.checkpoint.variance, found.errors[found.best]
        start, end = prepared.encoded.offsets[pos]
        flags = prepared.spots[pos].flags
        samples = tuple((done.explanation, error) for done, error in zip(found.completions, found.errors, strict=True))
        return Reading(
            pos=pos,
            token=prepared.text[start:end] or prepared.pieces[pos],
            token_id=prepared.encoded.ids[pos],
            layer=self.checkpoint.layer,
            norm=float(prepared.stream[pos].norm()),
            flags=flags if found.explanation is not None else (*flags, "parse_failed"),
            explanation=found.explanation,
            direction_mse=mse,
            fve_token=fve_token(mse, variance) if mse is not None and variance else None,
            floor_fve=floor_fve(prepared.stream[pos], self.checkpoint.uninformed, variance),
            claims=self.claims(found, opinions, prepared.facts.get(pos, {})),
            unparsed=found.unparsed,
            samples=samples if len(samples) > 1 else (),
            p_true_reason=usual_reason([reason for _, reason in opinions]),
            centered_cosine=cosine,
        )
