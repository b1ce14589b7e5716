"""The token lookup as an instrument: what the last two tokens and the position alone say, whatever the activation is.

It gives back the lookup's guess, and claims what rows of other documents that end in the same two tokens have in
common; where none does, those that end in the same token.
"""

from collections.abc import Sequence
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from legible.instruments.base import (
    Instrument,
    Needs,
    Offer,
    Rows,
    Said,
    Setting,
    check_rows,
    lacking,
    listed,
    shares_of,
)
from legible.languages.base import Language, Row
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.ridge import TokenColumns

MOST = 256  # rows that are counted


class LastTokens(Instrument):
    """The floor that echo clears: it never looks at the vector.

    Args:
        target, layer: whose activations.
        lookup: fitted on other documents.
        others: rows of other documents with their facts; None: nothing is claimed.
        language: claims are in; None: there are none.
    """

    name = "token-lookup"
    calibrated = True

    def __init__(
        self,
        target: Target,
        layer: int,
        lookup: TokenLookup,
        others: Rows | None = None,
        language: Language | None = None,
    ) -> None:
        self.target, self.layer, self.lookup, self.others, self.language = target, layer, lookup, others, language

    @property
    def needs(self) -> Needs:
        """Rows with their facts, for the claims."""
        if self.others is None:
            return Needs(train_cpu_s=None)
        return Needs(len(self.others.facts), len(set(self.others.doc_ids)), None)

    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """What rows with the same last tokens have in common.

        Raises:
            UsageError: no rows.
        """
        check_rows(self.name, vectors, rows)
        if self.language is None or self.others is None or not len(self.others.facts):
            return [Said(None) for _ in rows]
        said = []
        pair, token = self._by_tokens
        for row in rows:
            places = pair.get((row.prev_token_id, row.token_id)) or token.get(row.token_id, [])
            kept = [place for place in places if self.others.doc_ids[place] != row.document.doc_id][:MOST]
            claims = shares_of(self.language, [self.others.facts[place] for place in kept])
            said.append(Said(listed(claims), claims))
        return said

    def reconstruct(
        self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()
    ) -> Float[Tensor, "n d_model"] | None:
        """The lookup's prediction.

        Raises:
            UsageError: no rows.
        """
        check_rows(self.name, vectors, rows)
        columns = TokenColumns.of(*zip(*((row.token_id, row.prev_token_id, row.pos) for row in rows), strict=True))
        return self.lookup.predict(columns)

    @cached_property
    def _by_tokens(self) -> tuple[dict[tuple[int, int], list[int]], dict[int, list[int]]]:
        pairs: dict[tuple[int, int], list[int]] = {}
        tokens: dict[int, list[int]] = {}
        for place, row in enumerate(self.others.rows if self.others is not None else ()):
            pairs.setdefault((row.prev_token_id, row.token_id), []).append(place)
            tokens.setdefault(row.token_id, []).append(place)
        return pairs, tokens


def _made(setting: Setting) -> LastTokens:
    if setting.lookup is None:
        raise lacking(LastTokens.name, "a token lookup", "Use a checkpoint that holds one.")
    return LastTokens(setting.target, setting.layer, setting.lookup, setting.others, setting.language)


OFFER = Offer(
    LastTokens.name,
    "what the last two tokens and the position alone say",
    "floor",
    "that the last two tokens and the position are all there is",
    _made,
    alone=False,
)
