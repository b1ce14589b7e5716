"""Warnings on single tokens: where a reading deserves less trust, whatever it says."""

import re
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from legible.models.target import Encoded
from legible.vectors import norm_outliers

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def text_flags(
    encoded: Encoded,
    pieces: Sequence[str],
    norms: Float[Tensor, " n"],
    first_position: int,
    left_at: int | None = None,
) -> list[tuple[str, ...]]:
    """Warnings for every token of a text.

    Args:
        encoded: ids and offsets.
        pieces: the tokens as the vocabulary spells them.
        norms: length of every token's activation.
        first_position: earliest position the checkpoint was trained on.
        left_at: the character from which on the text is none that the checkpoint's language knows.

    Returns:
        For each token some of: `special_token`; `early_position`; `norm_outlier` (three times the text's median norm,
        or a third of it); `ood` (this token or one before it is a fallback byte, so that the text left the
        vocabulary, or reaches beyond `left_at`).
    """
    unusual = norm_outliers(norms).tolist()
    found: list[tuple[str, ...]] = []
    outside = False
    for pos, (piece, (start, end)) in enumerate(zip(pieces, encoded.offsets, strict=True)):
        beyond = left_at is not None and end > left_at
        outside = outside or beyond or _BYTE_PIECE.fullmatch(piece) is not None
        warnings = {
            "special_token": start == end == 0,
            "early_position": pos < first_position,
            "norm_outlier": unusual[pos],
            "ood": outside,
        }
        found.append(tuple(name for name, holds in warnings.items() if holds))
    return found
