"""Files that are whole or absent: write beside, flush, rename. And what is text, told from what is not.

A killed process leaves either the old file or the new one. `fault_point` is where the tests kill it.
"""

import hashlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from legible.errors import UsageError

POINTER = b"version https://git-lfs.github.com/spec/"
_OTHERS = (
    (POINTER, "a git-lfs pointer, not the file itself", "Fetch the file: git lfs pull"),
    (b"\x1f\x8b", "gzip", "Unpack it: gunzip -c FILE > NEW; a corpus may stay packed where its name ends in .gz"),
    (b"PAR1\x15", "a Parquet file", "Convert it: pandas.read_parquet(FILE).to_json(NEW, orient='records', lines=True)"),
    (b"PK\x03\x04", "a zip archive", "Unpack it: unzip FILE"),
    (b"\x28\xb5\x2f\xfd", "zstd", "Unpack it: zstd -d FILE"),
    (b"\xfd7zXZ", "xz", "Unpack it: xz -d FILE"),
    (
        b"SQLite format 3\x00",
        "an SQLite database",
        "Name a text, or see `legible search --help` for archives",
    ),
    (b"\xff\xfe", "UTF-16 text", "Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"),
    (b"\xfe\xff", "UTF-16 text", "Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"),
)
_SEPARATORS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def refuse_other_kind(start: bytes, name: Path | str) -> None:
    """Refuse what is no UTF-8 text by its first bytes, whatever the file is called.

    Raises:
        UsageError: it is a known kind of file (named).
    """
    for magic, what, mend in _OTHERS:
        if start.startswith(magic):
            raise UsageError(f"{name} is not UTF-8 text: it is {what}.\n  {mend}.")


def refuse_pointer(path: Path) -> None:
    """Refuse what git-lfs leaves in place of a large file.

    Raises:
        UsageError: the file is such a pointer.
    """
    with path.open("rb") as handle:
        if handle.read(len(POINTER)) == POINTER:
            raise UsageError(f"{path} is a git-lfs pointer, not the file itself.\n  Fetch the file: git lfs pull")


def decoded(data: bytes, name: Path | str) -> str:
    """UTF-8 text without its byte-order mark.

    Raises:
        UsageError: it is no UTF-8.
    """
    refuse_other_kind(data[:64], name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name} is not UTF-8 (byte {error.start}).\n  Convert it: iconv -t UTF-8 FILE > NEW"
        ) from None


def repaired(text: str) -> str:
    """The text with U+FFFD for every lone surrogate, half a character that no file can hold."""
    return _LONE_SURROGATE.sub("\ufffd", text)


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
    except SafetensorError as error:
        temporary.unlink(missing_ok=True)
        raise _of_the_system(error, path) from error
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
    except SafetensorError as error:
        raise _of_the_system(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _of_the_system(error: SafetensorError, path: Path) -> Exception:
    """What the system said, where safetensors wraps it in another error (a full disk); else the error itself."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error


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


def content_sha256(path: Path) -> str:
    """Checksum of a file, or of all files of a folder with their names."""
    if not path.is_dir():
        return file_sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = "".join(f"{file.relative_to(path).as_posix()} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def cache_dir() -> Path:
    """Where Legible keeps what it can make or fetch again: `LEGIBLE_CACHE`, else the user's cache folder."""
    if named := os.environ.get("LEGIBLE_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "legible"


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


def json_line(value: Any, **options: Any) -> str:
    """JSON on one line, also for readers that take Unicode's separators inside a text for ends of lines."""
    return json.dumps(finite(value), **{"ensure_ascii": False, **options}).translate(_SEPARATORS)


def finite(value: Any) -> Any:
    """The same value with every NaN or infinity replaced by None, so that it is legal JSON."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
