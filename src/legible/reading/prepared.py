"""A text on its way to being read: what the target makes of it, once, whichever of its tokens are read then."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from legible.config import CaptureConfig
from legible.documents import Document
from legible.engines import Key
from legible.engines.sampling import place_key
from legible.errors import UsageError
from legible.languages.base import Fact
from legible.models.target import Encoded
from legible.reading.checkpoint import OTHER_TARGET, Checkpoint
from legible.reading.evidence import Spot
from legible.reading.flags import text_flags
from legible.reading.positions import Positions, chosen_positions
from legible.reading.rows import rows_of, with_expectations
from legible.vectors import unit

ENOUGH = 16  # tokens of a text whose mean direction stands in for that of many texts


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


@dataclass(frozen=True)
class Planned:
    """A text, its tokens, and those of them that are to be read."""

    document: Document
    encoded: Encoded
    chosen: list[int]


def planned(checkpoint: Checkpoint, documents: Sequence[Document], positions: Positions) -> list[Planned]:
    """The tokens of every text and which of them are read, before anything runs.

    Raises:
        UsageError: an empty or too long text, or positions that are not there; of several texts it says which.
    """
    found = []
    for index, document in enumerate(documents):
        try:
            encoded = encoded_text(checkpoint, document.text)
            found.append(Planned(document, encoded, chosen_positions(positions, len(encoded.ids))))
        except UsageError as error:
            if len(documents) == 1:
                raise
            raise UsageError(f"text {index} of {len(documents)} (counted from 0): {error}") from None
    return found


def batches(plan: Sequence[Planned], tokens: int) -> Iterator[list[Planned]]:
    """Texts in groups of about so many tokens to read."""
    group: list[Planned] = []
    for one in plan:
        group.append(one)
        if sum(len(text.chosen) for text in group) >= tokens:
            yield group
            group = []
    if group:
        yield group


def encoded_text(checkpoint: Checkpoint, text: str) -> Encoded:
    """A text's tokens, where they fit the target's context.

    Raises:
        UsageError: an empty or too long text.
    """
    target = checkpoint.target
    encoded = target.encode(text)
    if len(encoded.ids) > target.context:
        raise UsageError(
            f"the text has {len(encoded.ids)} tokens, the target's context is {target.context}.\n"
            "  Read a part of it: nothing is cut off in silence."
        )
    return encoded


def stream_of(checkpoint: Checkpoint, encoded: Encoded) -> Float[Tensor, "tokens d_model"]:
    """Every token's raw activation at the checkpoint's layer, float32, on the processor."""
    ids = torch.tensor([encoded.ids])
    layer = checkpoint.layer
    return checkpoint.target.streams(ids, torch.ones_like(ids), (layer,))[layer][0].cpu()


def prepare(checkpoint: Checkpoint, document: Document, encoded: Encoded | None = None) -> Prepared:
    """Run the target over a document once.

    Raises:
        UsageError: an empty or too long text.
    """
    encoded = encoded_text(checkpoint, document.text) if encoded is None else encoded
    target, language, sampled = checkpoint.target, checkpoint.language, _sampled(checkpoint)
    stream = stream_of(checkpoint, encoded)
    pieces = tuple(target.tokenizer.convert_ids_to_tokens(encoded.ids))
    left = language.left_at(document.text) if language is not None else None
    flags = text_flags(encoded, pieces, stream.norm(dim=-1), sampled.min_pos, left)
    if checkpoint.other_target is not None:
        flags = [(*warnings, OTHER_TARGET) for warnings in flags]
    rows = {row.pos: row for row in rows_of(document, encoded.ids, encoded.offsets)} if language else {}
    if rows and sampled.predictions:
        seen = with_expectations(target, encoded.ids, list(rows.values()), sampled.predictions)
        rows = {row.pos: row for row in seen}
    return Prepared(
        text=document.text,
        encoded=encoded,
        pieces=pieces,
        stream=stream,
        spots=tuple(Spot(pos, warnings, rows.get(pos)) for pos, warnings in enumerate(flags)),
        facts={pos: language.facts(row) for pos, row in rows.items()} if language else {},
    )


def _sampled(checkpoint: Checkpoint) -> CaptureConfig:
    """Which positions the pair was trained on; the contract's defaults where it does not say."""
    extra = checkpoint.contract.legible
    return CaptureConfig.from_positions(extra.variance.positions if extra and extra.variance else "")
