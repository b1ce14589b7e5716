"""Captured rows with everything that judges a reading of them: activations, tokens and facts."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from legible.config import CaptureConfig
from legible.data.capture import capture
from legible.data.store import Store
from legible.documents import Document
from legible.engines.continuations import speaker
from legible.errors import UsageError
from legible.languages.base import Fact, Language, Row
from legible.models.target import Target
from legible.probes.probes import UNDECIDED, known_labels
from legible.probes.ridge import TokenColumns


@dataclass(frozen=True)
class Sample:
    """Rows of a store at one layer. `facts` is empty where no language decides the truth."""

    vectors: Float[Tensor, "n d_model"]
    rows: Sequence[Row]
    facts: Sequence[Mapping[str, Fact]] = field(default_factory=list)

    @classmethod
    def of_store(
        cls, store: Store, layer: int, language: Language | None, *, limit: int | None = None, seed: int = 0
    ) -> "Sample":
        """Rows of a store: all, or `limit` of them drawn evenly by seed, in store order."""
        chosen = np.arange(len(store))
        if limit is not None and limit < len(store):
            chosen = np.sort(np.random.default_rng([seed, 0]).choice(len(store), limit, replace=False))
        rows = [store.row(int(index)) for index in chosen]
        facts = [dict(language.facts(row)) for row in rows] if language is not None else []
        return cls(store.vectors(chosen, layer), rows, facts)

    @classmethod
    def of_documents(
        cls,
        target: Target,
        documents: Sequence[Document],
        config: CaptureConfig,
        layer: int,
        language: Language | None,
        *,
        limit: int | None = None,
    ) -> "Sample":
        """Capture documents now, keep the rows in memory.

        Args:
            config: which positions; its layers are replaced by `layer`.
            limit: as for `of_store`, drawn by `config.seed`.

        Raises:
            UsageError: no document is long enough.
        """
        with tempfile.TemporaryDirectory(prefix="legible-") as folder:
            at_layer = config.model_copy(update={"layers": (layer,)})
            store = capture(target, documents, at_layer, Path(folder) / "store", speaker=speaker(target, at_layer))
            if len(store) == 0:
                raise UsageError(
                    f"none of {len(documents)} documents has a token at position {config.min_pos} or later.\n"
                    "  Give longer texts, or lower capture.min_pos."
                )
            return cls.of_store(store, layer, language, limit=limit, seed=config.seed)

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

    def labels(self, language: Language, *, said: bool = False) -> dict[str, list[str | None]]:
        """The known values of every kind that probes can read; kinds that no row knows are left out.

        Args:
            said: without values that the language's teacher leaves unsaid.
        """
        columns = known_labels(self.facts, language.probe_kinds)
        for kind in set(language.unsaid) & columns.keys() if said else ():
            columns[kind] = [None if value == language.unsaid[kind] else value for value in columns[kind]]
        return {kind: column for kind, column in columns.items() if set(column) - {None, UNDECIDED}}
