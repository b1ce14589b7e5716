"""What a teacher is, and the resumable stage that lets one write the warm-start text of a store.

The stage appends whole lines of JSON, one per row in the store's order, so a killed run resumes.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from legible.config import TeachConfig
from legible.errors import TeacherError, UsageError
from legible.fileio import fault_point, whole_chunks
from legible.languages.base import Claim, Row

CHUNK = 64
"""Rows given to a teacher at once; a resumed stage starts at a whole chunk, so batches never depend on the kill."""


@dataclass(frozen=True)
class Explanation:
    """A teacher's text, and the claims it was written from (empty for free text)."""

    text: str
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """No text for a row, and why; counted, never dropped in silence."""

    reason: str
    answered: bool = field(default=True, compare=False)  # False: the model did not get to an answer; ask it again


class Teacher(Protocol):
    """Writes what an activation may hold, from the text that the target had read."""

    name: str

    def write(self, rows: Sequence[Row], keep: Sequence[set[str]] | None = None) -> list[Explanation | Refusal]:
        """One explanation or refusal a row, in order.

        Args:
            rows: the captured tokens.
            keep: per row, the kinds of facts that may be stated; None allows all.

        Raises:
            TeacherError: the teacher failed for good.
        """
        ...


@dataclass(frozen=True)
class Offer:
    """What the file of a teacher exposes as `TEACHER`.

    usage: how a configuration names it: the file's name, a colon and what is to be said behind it.
    make: the teacher of (configuration, cache, role), see `legible.teachers.make_teacher`; None where the name lacks
        something.
    verdict_tokens: longest answer asked of it as a judge; 0 where it answers no requests of `legible.teachers.judge`.
    """

    usage: str
    make: Callable[[TeachConfig, Path | None, str], Teacher | None]
    verdict_tokens: int = 0


def refuse_limit(name: str, keep: Sequence[set[str]] | None) -> None:
    """Refuse to limit a teacher who writes free text.

    Raises:
        UsageError: a limit was given.
    """
    if keep is not None:
        raise UsageError(
            f"teacher {name} writes free text and cannot be limited by probes.\n"
            "  Use `--limit none`, or the world or text teacher."
        )


class RowSource(Protocol):
    """The part of an activation store that a teacher needs."""

    def __len__(self) -> int: ...

    def row(self, index: int, /) -> Row:
        """The captured token of one row."""
        ...


@dataclass(frozen=True)
class TaughtRow:
    """One line of the teach file."""

    row: int
    text: str | None
    claims: tuple[Claim, ...] = ()
    reason: str | None = None


def teach(
    store: RowSource,
    teacher: Teacher,
    out: Path,
    *,
    keep: Sequence[set[str]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Write one line per row of `store` to `out`; run it again and it resumes.

    Args:
        store: rows to explain.
        teacher: who writes.
        out: a `.jsonl` file, new or of the same teacher, store and limit: its caller has claimed it.
        keep: per row of the store, the kinds that may be stated.
        progress: called with (rows done, rows in all) after every chunk.

    Returns:
        Counts: rows, written, refused, and one `refused: REASON` for each reason.

    Raises:
        UsageError: `keep` does not fit the store.
        TeacherError: the teacher failed for good; finished chunks stay.
    """
    if keep is not None and len(keep) != len(store):
        raise UsageError(
            f"the teacher's limit covers {len(keep)} rows, the store holds {len(store)}.\n"
            "  Compute the limit on this store."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    start = whole_chunks(out, CHUNK, len(store))
    with out.open("ab", buffering=0) as handle:
        for first in range(start, len(store), CHUNK):
            chunk = range(first, min(first + CHUNK, len(store)))
            results = teacher.write([store.row(i) for i in chunk], None if keep is None else keep[first : chunk.stop])
            if len(results) != len(chunk):
                raise TeacherError(f"teacher {teacher.name} returned {len(results)} results for {len(chunk)} rows.")
            _append(handle, b"".join(_line(row, result) for row, result in zip(chunk, results, strict=True)), out)
            fault_point("teach")
            if progress:
                progress(chunk.stop, len(store))
    return count_taught(out)


def read_taught(path: Path) -> Iterator[TaughtRow]:
    """The rows of a teach file, in order; text from elsewhere needs no `claims` and no `reason`.

    Raises:
        UsageError: no such file, or a line that is not a teacher's.
    """
    if not path.is_file():
        raise UsageError(f"no teacher's text at {path}.\n  Write it first: `legible teach`")
    with path.open(encoding="utf-8") as handle:
        for number, line in enumerate(handle):
            try:
                row = json.loads(line)
                claims = tuple(Claim("", kind, value) for kind, value in row.get("claims", ()))
                yield TaughtRow(row["row"], row["text"], claims, row.get("reason"))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UsageError(
                    f"{path} line {number + 1} is not a teacher's line.\n"
                    "  Delete the file and run `legible teach` again."
                ) from None


def taught_texts(path: Path) -> Iterator[tuple[int, str]]:
    """(row of the store, text) of every row that the teacher did not refuse; errors are those of `read_taught`."""
    return ((taught.row, taught.text) for taught in read_taught(path) if taught.text is not None)


def count_taught(path: Path) -> dict[str, int]:
    """Counts of a teach file: rows, written, refused, and one `refused: REASON` for each reason."""
    reasons: Counter[str] = Counter()
    rows = 0
    for taught in read_taught(path):
        rows += 1
        if taught.text is None:
            reasons[f"refused: {taught.reason}"] += 1
    refused = sum(reasons.values())
    return {"rows": rows, "written": rows - refused, "refused": refused, **dict(sorted(reasons.items()))}


def _append(handle: FileIO, content: bytes, out: Path) -> None:
    """Write all of it, unbuffered: a full disk shows here and not when the file is closed."""
    try:
        while content:
            content = content[handle.write(content) :]
    except OSError as error:
        raise TeacherError(
            f"cannot write {out}: {error.strerror}.\n  Free some space and run again; finished rows are kept."
        ) from None


def _line(row: int, result: Explanation | Refusal) -> bytes:
    value: dict[str, Any] = {"row": row, "text": None, "claims": [], "reason": None}
    if isinstance(result, Refusal):
        value["reason"] = result.reason
    else:
        value |= {"text": result.text, "claims": [[claim.relation, claim.value] for claim in result.claims]}
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
