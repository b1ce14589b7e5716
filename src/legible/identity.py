"""Whether a folder holds this work finished, this work unfinished (to resume), or other work.

A stage is what it depends on: its configuration and the content of its inputs, never their names or sizes. That is its
identity, kept as `identity.json` in the folder it fills; where the output is one file, or a folder that is renamed into
place as a whole, as `NAME.meta.json` beside it. Nothing here knows what a stage does.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from legible.errors import UsageError
from legible.fileio import write_json

Claimed = Literal["new", "resume", "finished"]
FILE = "identity.json"
STATE = "state.safetensors"
"""How the names of a training's unfinished states end; a finished folder holds none."""
_DIGEST = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True)
class Identity:
    """What an output depends on.

    stage: the verb that makes it, as it is typed.
    parts: name -> configuration section, checksum of an input, or plain JSON.
    beside: the output is a file, or a folder that appears whole; the identity then stands beside it.
    """

    stage: str
    parts: Mapping[str, Any]
    beside: bool = False

    @property
    def plain(self) -> dict[str, Any]:
        """The parts as they come back from JSON."""
        text = json.dumps(self.parts, default=lambda section: section.model_dump(mode="json"))
        plain: dict[str, Any] = json.loads(text)
        return plain

    @property
    def digest(self) -> str:
        """A short name of it: equal for equal stages and parts."""
        text = json.dumps([self.stage, self.plain], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def file(self, out: Path) -> Path:
        """Where the identity of `out` is kept."""
        return out.with_name(f"{out.name}.meta.json") if self.beside else out / FILE


def claim(out: Path, identity: Identity) -> Claimed:
    """Take `out` for this identity, or find it taken.

    Returns:
        `new` where nothing of it is there yet, `resume` where this identity left unfinished work, `finished` where its
        work is whole.

    Raises:
        UsageError: `out` holds another identity's work (the parts that differ are named) or files of unknown origin;
            nothing is changed.
    """
    file = identity.file(out)
    recorded = _recorded(file)
    if _is_empty(out, file):
        _record(file, identity, finished=False)
        return "new"
    if recorded is None:
        raise UsageError(
            f"{out} is there already and has no {file.name}, so it is unknown what made it.\n"
            f"  Move it away, or choose another --out: legible {identity.stage} … --out NEW"
        )
    if (recorded["stage"], recorded["parts"]) != (identity.stage, identity.plain):
        raise UsageError(_refusal(out, file, recorded, identity))
    return "finished" if recorded["finished"] else "resume"


def finish(out: Path, identity: Identity) -> None:
    """Mark the work of a claimed `out` as whole and drop the states of its trainings."""
    _record(identity.file(out), identity, finished=True)
    if not identity.beside:
        for state in out.glob(f"*{STATE}"):
            state.unlink()


def once(out: Path, identity: Identity, work: Callable[[], object]) -> None:
    """Claim `out` and do its work, unless it is finished.

    Raises:
        UsageError: as for `claim`.
    """
    if claim(out, identity) != "finished":
        work()
        finish(out, identity)


def is_finished(out: Path) -> bool:
    """Whether a stage has filled the folder `out`."""
    recorded = _recorded(out / FILE)
    return recorded is not None and recorded["finished"] is True


def recorded_parts(out: Path, *, beside: bool = False) -> dict[str, Any]:
    """What `out` depends on, as its stage recorded it; empty where none did."""
    recorded = _recorded(Identity("", {}, beside).file(out))
    parts: dict[str, Any] = recorded["parts"] if recorded is not None else {}
    return parts


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The parts in which two identities differ, with both values where a reader can tell them apart."""
    different = []
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            different += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            shown = not any(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (before, after))
            different.append(f"{prefix}{key} ({before} there, {after} now)" if shown else f"{prefix}{key}")
    return different


def _refusal(out: Path, file: Path, recorded: Mapping[str, Any], identity: Identity) -> str:
    if recorded["stage"] != identity.stage:
        refusal = f"{out} holds what legible {recorded['stage']} made, expected the output of legible {identity.stage}."
    else:
        changed = ", ".join(differences(recorded["parts"], identity.plain))
        refusal = f"{out} holds what legible {identity.stage} made from something else; it differs in {changed}."
    old = f"{out} and {file.name} beside it" if identity.beside else str(out)
    return (
        f"{refusal}\n  The usual cause is a changed option or input under an old --out.\n"
        f"  Choose another, or delete {old}: legible {identity.stage} … --out NEW"
    )


def _is_empty(out: Path, file: Path) -> bool:
    """Whether `out` holds nothing but its identity and what a kill left of writing it."""
    if not out.is_dir():
        return not out.exists() or (file.parent == out.parent and out.stat().st_size == 0)
    return all(path.name in (file.name, f".{file.name}.tmp") for path in out.iterdir())


def _recorded(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        recorded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if {"stage", "finished", "parts"} <= recorded.keys():
            return recorded
    except (ValueError, AttributeError):
        pass
    raise UsageError(
        f"{file} is not the identity of an output: expected `stage`, `finished` and `parts`.\n"
        "  The usual cause is an output of an older version or an edited file. Choose another --out."
    )


def _record(file: Path, identity: Identity, *, finished: bool) -> None:
    write_json(file, {"stage": identity.stage, "finished": finished, "parts": identity.plain})
