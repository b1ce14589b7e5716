"""Where the parts of a checkpoint lie: a folder, a run, a pair of folders, the hub, or inside this package.

Ours hold both roles in one folder. Released pairs are two folders or two repositories, NAME-av and NAME-ar, each with
its sidecar at the top: naming either finds the other.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from legible.contract import SIDECAR, ModelContract, read_contract
from legible.errors import UsageError
from legible.models.hub import NotFoundError, files_there, folder_of
from legible.reading.checkpoint_name import check_name, unknown
from legible.reading.shipped import shipped

ROLES = ("av", "ar")
TARGET = "target"
"""The folder of a target that goes along: in a checkpoint's folder, or beside the two of a pair of ours."""
NONE = "none"
"""In place of a reconstructor's name: read the words without scores."""
_ENDING = re.compile(r"(?P<stem>(?:.*[-_.])?)(?P<role>av|ar|AV|AR)")


@dataclass(frozen=True)
class Located:
    """The folders of a checkpoint.

    folder: the checkpoint's, which holds `av/`, the target and what was fitted; of a pair the verbalizer's.
    av, ar: the roles'; ar is None where there is no reconstructor.
    kept: where to keep what is measured of it; None where the place is not the user's (the hub's cache, a package).
    """

    folder: Path
    av: Path
    ar: Path | None
    kept: Path | None

    def own_target(self, contract: ModelContract) -> Path | None:
        """The folder of the target that goes along: in the checkpoint's, or beside a pair's two; None without one.

        Beside a pair one is meant only where the verbalizer's `contract` holds its checksum: a folder of that name can
        be anybody's there.
        """
        record = contract.legible.target if contract.legible else None
        is_pair = self.folder == self.av and self.kept is not None
        beside = [self.folder.parent] if is_pair and record is not None and record.sha256 else []
        return next((each / TARGET for each in (self.folder, *beside) if (each / TARGET).is_dir()), None)


def locate(name: str | Path, reconstructor: str | None = None) -> Located:
    """The folders of a checkpoint; what the hub has is downloaded.

    Args:
        name: a checkpoint's or a run's folder, half a pair (folder or hub name), or a shipped pair.
        reconstructor: folder or hub name of the reconstructor, where another is meant than lies beside the verbalizer;
            `none` does without.

    Raises:
        UsageError: nothing of that name here or on the hub, or a pair whose other half is not where it should be.
    """
    name = str(name)
    if (inside := shipped(name)) is not None:
        return _other_reconstructor(Located(inside, inside / "av", inside / "ar", None), reconstructor)
    check_name(name)
    local = Path(name).exists()
    if not local:
        _check_there(name, reconstructor)
    folder = _fetched(name)
    if folder.name in ROLES and (folder.parent / "av" / SIDECAR).is_file():  # a role of a checkpoint of ours
        folder = folder.parent
    if (whole := _ours(folder, kept=local)) is not None:
        return _other_reconstructor(whole, reconstructor)
    if not (folder / SIDECAR).is_file():
        raise unknown(name, f"{folder} has no av/, no checkpoint/ and no {SIDECAR}")
    return _pair(name, folder, reconstructor)


def sibling(name: str) -> str | None:
    """The name of a pair's other half: NAME-ar for NAME-av and the reverse; None where the name ends in neither.

    Example:
        >>> sibling("org/some-model-L20-av"), sibling("pairs/ar"), sibling("gpt2")
        ('org/some-model-L20-ar', 'pairs/av', None)
    """
    before, slash, last = name.rstrip("/").rpartition("/")
    found = _ENDING.fullmatch(last)
    if found is None:
        return None
    return before + slash + found["stem"] + {"av": "ar", "ar": "av", "AV": "AR", "AR": "AV"}[found["role"]]


def _ours(path: Path, *, kept: bool) -> Located | None:
    """A folder with both roles in it; None where it is something else."""
    for folder in (path / "checkpoint", path):  # a training stage keeps bare roles beside its checkpoint
        if (folder / "av").is_dir():
            ar = folder / "ar"
            return Located(folder, folder / "av", ar if ar.is_dir() else None, folder if kept else None)
    return None


def _other_reconstructor(found: Located, reconstructor: str | None) -> Located:
    if reconstructor is None:
        return found
    return replace(found, ar=None if reconstructor == NONE else _half(reconstructor, "ar"))


def _pair(name: str, folder: Path, reconstructor: str | None) -> Located:
    """A released pair, of which the half that was named lies in `folder`."""
    if _role_of(folder) == "av":
        if reconstructor == NONE:
            return Located(folder, folder, None, _beside(name))
        ar = reconstructor or sibling(name) or _raise(_no_sibling(name))
        return Located(folder, folder, _half(ar, "ar", None if reconstructor else name), _beside(name))
    if _role_of(folder) != "ar":
        raise unknown(name, f"{folder} holds the contract of {_role_of(folder)}")
    if reconstructor is not None:
        raise UsageError(
            f"{name} is a reconstructor, expected a verbalizer beside --reconstructor.\n  Name that first."
        )
    other = sibling(name) or _raise(_no_sibling(name))
    av = _half(other, "av", name)
    return Located(av, av, folder, _beside(other))


def _half(name: str, role: str, of: str | None = None) -> Path:
    """The folder of half a pair, or that part of a checkpoint of ours.

    Args:
        name: its folder or hub name.
        role: av or ar.
        of: the other half, whose name led here.

    Raises:
        UsageError: it is not there, or of another role.
    """
    if of is not None and Path(of).exists() and not Path(name).exists():  # the hub's of that name is a stranger's
        raise _missing(name, role, of, "there is no such folder")
    try:
        folder = folder_of(name)
    except NotFoundError as error:
        raise _missing(name, role, of, error.reason) from None
    whole = _ours(folder, kept=False)
    part = {"av": whole.av, "ar": whole.ar}[role] if whole is not None else folder
    if part is None or not (part / SIDECAR).is_file():
        raise _missing(name, role, of, f"{folder} holds no {SIDECAR} of role {role}")
    if (found := _role_of(part)) != role:
        raise UsageError(f"{name} holds the contract of {found}, expected role {role}.\n  The two may be swapped.")
    return part


def _role_of(folder: Path) -> str:
    contract = read_contract(folder)
    return contract.role if isinstance(contract, ModelContract) else "a dataset"


def _beside(verbalizer: str) -> Path | None:
    """Where to keep what is measured of a pair of folders; None for one of the hub."""
    path = Path(verbalizer)
    if not path.exists():
        return None
    found = _ENDING.fullmatch(path.name)
    stem = found["stem"].rstrip("-_.") if found is not None else ""
    return path.with_name(f"{stem or path.name}-measured")


def _check_there(name: str, reconstructor: str | None) -> None:
    """Look on the hub for both halves of a pair before the first, of many gigabytes, is downloaded.

    Raises:
        UsageError: the named one or the other is not there; offline nothing is looked for.
    """
    try:
        found = files_there(name)
    except NotFoundError as error:
        raise unknown(name, error.reason) from None
    other = sibling(name)
    if found is None or SIDECAR not in found or reconstructor is not None or other is None:
        return
    try:
        files_there(other)
    except NotFoundError as error:
        raise _missing(other, "av" if other[-2:].lower() == "av" else "ar", name, error.reason) from None


def _fetched(name: str) -> Path:
    try:
        return folder_of(name)
    except NotFoundError as error:
        raise unknown(name, error.reason) from None


def _raise(error: UsageError) -> NoReturn:
    raise error


def _missing(name: str, role: str, of: str | None, reason: str) -> UsageError:
    what = "reconstructor" if role == "ar" else "verbalizer"
    if of is None:
        return UsageError(f"no {what} at {name}: {reason}.\n  Check the name.")
    mend = (
        "  Name it where it is called otherwise: --reconstructor NAME\n"
        "  Or read the words without scores: --reconstructor none"
        if role == "ar"
        else f"  Name it where it is called otherwise: VERBALIZER --reconstructor {of}"
    )
    return UsageError(f"the {what} that belongs to {of} would be {name}: {reason}.\n{mend}")


def _no_sibling(name: str) -> UsageError:
    return UsageError(
        f"{name} is half a pair, and its name ends in neither av nor ar: nothing says what the other half is called.\n"
        "  Name both: VERBALIZER --reconstructor RECONSTRUCTOR\n"
        "  Or read the words of a verbalizer without scores: --reconstructor none"
    )
