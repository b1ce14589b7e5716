"""Which tokens of a document are read."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from legible.config import CaptureConfig

SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*\s*$")


def sample_positions(doc_id: str, n_tokens: int, config: CaptureConfig, sentence_ends: Sequence[int]) -> list[int]:
    """The tokens of a document that are read, ascending; random by (seed, doc_id) alone.

    Args:
        doc_id: the document.
        n_tokens: its tokens, truncated; special tokens counted, trailing ones not.
        config: `min_pos`, `positions_per_doc`, `sentence_end_share` and `seed` are used.
        sentence_ends: its sentence-final tokens.

    Returns:
        At most `positions_per_doc` indices in [min_pos, n_tokens); all of them where there are fewer.
    """
    key = hashlib.sha256(f"positions\n{config.seed}\n{doc_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key[:16]))
    candidates = range(config.min_pos, n_tokens)
    ends = [pos for pos in sentence_ends if pos in candidates]
    wanted = min(round(config.sentence_end_share * config.positions_per_doc), len(ends))
    chosen = {ends[i] for i in rng.permutation(len(ends))[:wanted].tolist()}
    others = [pos for pos in candidates if pos not in chosen]
    more = config.positions_per_doc - wanted
    return sorted(chosen | {others[i] for i in rng.permutation(len(others))[:more].tolist()})


def sentence_end_tokens(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Indices of the tokens that end a sentence: a final . ! or ? (closing quotes allowed), no letter right after."""
    return [
        i
        for i, (start, end) in enumerate(offsets)
        if end > start and SENTENCE_END.search(text[start:end]) and not text[end : end + 1].isalnum()
    ]
