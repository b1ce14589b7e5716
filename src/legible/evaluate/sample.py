"""Captured rows with everything that judges a reading of them: activations, tokens and facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from legible.truth.claims import Fact, Language, Row
from legible.truth.lookup import TokenColumns
from legible.truth.probes import known_labels

if TYPE_CHECKING:
    from legible.data.store import Store


@dataclass(frozen=True)
class Sample:
    """Rows of a store at one layer. `facts` is empty where no language decides the truth."""

    vectors: Float[Tensor, "n d_model"]
    rows: Sequence[Row]
    facts: Sequence[Mapping[str, Fact]] = field(default_factory=list)

    @classmethod
    def of_store(
        cls, store: "Store", layer: int, language: Language | None, *, limit: int | None = None, seed: int = 0
    ) -> "Sample":
        """Rows of a store: all, or `limit` of them drawn evenly by seed, in store order."""
        chosen = np.arange(len(store))
        if limit is not None and limit < len(store):
            chosen = np.sort(np.random.default_rng([seed, 0]).choice(len(store), limit, replace=False))
        rows = [store.row(int(index)) for index in chosen]
        facts = [dict(language.facts(row)) for row in rows] if language is not None else []
        return cls(store.vectors(chosen, layer), rows, facts)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def doc_ids(self) -> list[str]:
        """The document of every row."""
        return [row.document.doc_id for row in self.rows]

    @cached_property
    def columns(self) -> TokenColumns:
        """The tokens and positions that the token lookup reads."""
        return TokenColumns.of(
            (row.token_id for row in self.rows),
            (row.prev_token_id for row in self.rows),
            (row.pos for row in self.rows),
        )

    def labels(self, language: Language) -> dict[str, list[str | None]]:
        """The known value of every kind that probes can read."""
        return known_labels(self.facts, language.probe_kinds)
