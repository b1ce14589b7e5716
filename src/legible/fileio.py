"""Files that are whole or absent: write beside, flush, rename.

A killed process leaves either the old file or the new one. `fault_point` is where the tests kill it.
"""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def fault_point(name: str) -> None:
    """Die by SIGKILL at the N-th passage of the named point when `LEGIBLE_FAULT` is `name:N` (tests only)."""
    wanted = os.environ.get("LEGIBLE_FAULT")
    if not wanted or wanted.rpartition(":")[0] != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(wanted.rpartition(":")[2]):
        os.kill(os.getpid(), signal.SIGKILL)


_passed: dict[str, int] = {}


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write(temporary path)` in the same folder, flush to disk, then rename over `path`.

    Raises:
        OSError: the disk is full or the folder unwritable; `path` is then untouched and the temporary removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        fault_point("rename")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a full disk is reported without a name
        raise


def write_directory(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write(temporary folder)` beside `path`, flush its files to disk, then rename it; replaces an older folder.

    Raises:
        OSError: the disk is full or the folder unwritable; `path` is then untouched and the temporary removed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        fault_point("rename")
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in their given order; NaN is written as null."""
    write_text(path, json.dumps(finite(value), indent=1, ensure_ascii=False) + "\n")


def file_sha256(path: Path) -> str:
    """Checksum of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def whole_chunks(path: Path, chunk: int, total: int) -> int:
    """Cut a torn line and an unfinished chunk off a file of `total` lines to be; the number of lines that stay."""
    if not path.exists():
        return 0
    lines, end, at = 0, 0, 0
    with path.open("rb+") as handle:
        for number, line in enumerate(handle):
            if not line.endswith(b"\n"):
                break
            at += len(line)
            if (number + 1) % chunk == 0 or number + 1 == total:
                lines, end = number + 1, at
        handle.truncate(end)
    return lines


def finite(value: Any) -> Any:
    """The same value with every NaN or infinity replaced by None, so that it is legal JSON."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
