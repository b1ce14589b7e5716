"""Rows of a text that is read now: the same bookkeeping as in a store, without one."""

from collections.abc import Sequence

from legible.documents import Document
from legible.truth.claims import Row

RECENT = 8  # tokens that count as just read; a claim about one of them is no context claim


def rows_of(document: Document, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> list[Row]:
    """One row for every token of the document's text; special tokens, whose offsets are empty, have none.

    Args:
        document: the text and its id.
        ids: its tokens, specials included.
        offsets: where each token stands in the text; (0, 0) for specials.
    """
    rows = []
    for pos, (token, (start, end)) in enumerate(zip(ids, offsets, strict=True)):
        if start == end == 0:
            continue
        recent = offsets[max(0, pos - RECENT + 1)][0]
        rows.append(Row(document, pos, end, recent, token, ids[pos - 1] if pos else -1))
    return rows
