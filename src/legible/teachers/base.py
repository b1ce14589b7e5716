"""What a teacher is, and the resumable stage that lets one write the warm-start text of a store.

The stage appends whole lines of JSON, one a row in the store's order, so a killed run goes on where it stopped.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from legible.config import TeachConfig
from legible.errors import TeacherError, UsageError
from legible.fileio import fault_point, write_json
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
            "  Use `--limit none`, or the world or facts teacher."
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
    seed: int = 0,
    keep: Sequence[set[str]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Write one line a row of `store` to `out`; run it again and it goes on where it stopped.

    Args:
        store: rows to explain.
        teacher: who writes.
        out: a `.jsonl` file; `out` with `.meta.json` beside it records whose text it is.
        seed: recorded with the file, so that another seed is not mixed in.
        keep: per row of the store, the kinds that may be stated.
        progress: called with (rows done, rows in all) after every chunk.

    Returns:
        Counts: rows, written, refused, and one `refused: REASON` for each reason.

    Raises:
        UsageError: `out` holds the text of another teacher, store, seed or limit, or `keep` does not fit the store.
        TeacherError: the teacher failed for good; finished chunks stay.
    """
    if keep is not None and len(keep) != len(store):
        raise UsageError(
            f"the teacher's limit covers {len(keep)} rows, the store holds {len(store)}.\n"
            "  Compute the limit on this store."
        )
    _claim_file(out, {"teacher": teacher.name, "rows": len(store), "seed": seed, "limit": _digest(keep)})
    start = _whole_chunks(out, len(store))
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
    """The rows of a teach file, in order.

    Raises:
        UsageError: no such file, or a line that is not a teacher's.
    """
    if not path.is_file():
        raise UsageError(f"no teacher's text at {path}.\n  Write it first: `legible teach`")
    with path.open(encoding="utf-8") as handle:
        for number, line in enumerate(handle):
            try:
                row = json.loads(line)
                claims = tuple(Claim("", kind, value) for kind, value in row["claims"])
                yield TaughtRow(row["row"], row["text"], claims, row["reason"])
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    f"{path} line {number + 1} is not a teacher's line.\n"
                    "  Delete the file and run `legible teach` again."
                ) from None


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
            f"cannot write {out}: {error.strerror}.\n  Free some space and run again; finished rows stay."
        ) from None


def _digest(keep: Sequence[set[str]] | None) -> str | None:
    if keep is None:
        return None
    return hashlib.sha256(json.dumps([sorted(kinds) for kinds in keep]).encode()).hexdigest()[:16]


def _line(row: int, result: Explanation | Refusal) -> bytes:
    value: dict[str, Any] = {"row": row, "text": None, "claims": [], "reason": None}
    if isinstance(result, Refusal):
        value["reason"] = result.reason
    else:
        value |= {"text": result.text, "claims": [[claim.relation, claim.value] for claim in result.claims]}
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _claim_file(out: Path, identity: dict[str, Any]) -> None:
    """Record whose text `out` holds, or check that it is ours to go on with."""
    beside = out.with_name(out.name + ".meta.json")
    if not beside.exists():
        if out.exists():
            raise UsageError(
                f"{out} exists without {beside.name}, so nobody knows whose text it is.\n"
                "  Move it away or choose another --out."
            )
        write_json(beside, identity)
        return
    found = json.loads(beside.read_text(encoding="utf-8"))
    differs = [
        f"{key} was {found.get(key)!r}, now {value!r}" for key, value in identity.items() if found.get(key) != value
    ]
    if differs:
        raise UsageError(
            f"{out} was begun differently: {'; '.join(differs)}.\n"
            f"  Delete it and {beside.name}, or choose another --out."
        )


def _whole_chunks(out: Path, total: int) -> int:
    """Cut a torn line and an unfinished chunk off the file; the number of rows that stay."""
    if not out.exists():
        return 0
    rows, end, at = 0, 0, 0
    with out.open("rb+") as handle:
        for number, line in enumerate(handle):
            if not line.endswith(b"\n"):
                break
            at += len(line)
            if (number + 1) % CHUNK == 0 or number + 1 == total:
                rows, end = number + 1, at
        handle.truncate(end)
    return rows
