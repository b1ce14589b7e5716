"""Training examples of the warm start: token sequences flat in memory, and which of them a step reads."""

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from legible.data.batches import length_grouped_batches
from legible.data.store import Store
from legible.errors import UsageError

CHUNK = 1024  # texts tokenized at once


class TokenTable:
    """Token sequences of captured rows, flat in memory: about 4 bytes per token."""

    def __init__(self, rows: NDArray[np.int64], ids: NDArray[np.int32], ends: NDArray[np.int64]) -> None:
        self.rows = rows
        self._ids = ids
        self._ends = ends
        self.lengths: NDArray[np.int64] = np.diff(ends, prepend=0)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[int]:
        end = int(self._ends[index])
        return [int(token) for token in self._ids[end - int(self.lengths[index]) : end]]

    @classmethod
    def build(cls, texts: Iterator[tuple[int, str]], encode: Callable[[list[str]], list[list[int]]]) -> "TokenTable":
        """Tokenize (row, text) pairs chunk by chunk; a text that gives no tokens is left out."""
        rows, ids, ends = array("q"), array("i"), array("q")
        chunk: list[tuple[int, str]] = []

        def flush() -> None:
            for (row, _), tokens in zip(chunk, encode([text for _, text in chunk]), strict=True):
                if tokens:
                    rows.append(row)
                    ids.extend(tokens)
                    ends.append(len(ids))
            chunk.clear()

        for pair in texts:
            chunk.append(pair)
            if len(chunk) == CHUNK:
                flush()
        if chunk:
            flush()
        return cls(np.array(rows, np.int64), np.array(ids, np.int32), np.array(ends, np.int64))


class BatchOrder:
    """The examples of a step: a pure function of (lengths, batch_tokens, seed, step)."""

    def __init__(self, lengths: NDArray[np.int64], batch_tokens: int, seed: int) -> None:
        self._lengths: list[int] = lengths.tolist()
        self._batch_tokens = batch_tokens
        self._seed = seed
        self._epoch = -1
        self._start = 0
        self._batches: list[list[int]] = []

    @property
    def epoch(self) -> int:
        """Pass over the examples, from 0, of the step asked for last; -1 before the first."""
        return self._epoch

    def __call__(self, step: int) -> list[int]:
        """Indices of the examples of `step`; steps must not go backwards."""
        while step >= self._start + len(self._batches):
            self._start += len(self._batches)
            self._epoch += 1
            self._batches = length_grouped_batches(self._lengths, self._batch_tokens, self._seed, self._epoch)
        return self._batches[step - self._start]


def check_rows(table: TokenTable, store: Store, teach_file: Path) -> None:
    """Refuse a teacher's file that holds nothing, or rows of another store.

    Raises:
        UsageError: either.
    """
    if not len(table):
        raise UsageError(
            f"{teach_file} holds no explanation: every row was refused, or none was asked.\n"
            "  Expected one JSON object per row with `row` and `text`. Run `legible teach` again."
        )
    if int(table.rows.max()) >= len(store):
        raise UsageError(
            f"{teach_file} names row {int(table.rows.max())}, but the store has {len(store)} rows.\n"
            "  The usual cause is a teacher's file written for another store. Run `legible teach` again."
        )
