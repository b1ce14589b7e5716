"""Where a checkpoint lies: a folder, a run, the hub, or inside this package."""

import re
from importlib.resources import as_file, files
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from legible.errors import UsageError

HUB_FILES = ["*.safetensors", "*.json", "*.yaml", "*.jinja", "*.txt", "*.model", "README.md"]


def locate(name: str | Path) -> Path:
    """The folder that holds `av/` for a checkpoint's name.

    Raises:
        UsageError: nothing of that name here or on the hub.
    """
    if str(name) == "builtin":
        with as_file(files("legible") / "builtin") as folder:
            return _with_roles(folder, "builtin")
    path = Path(name)
    if path.exists():
        return _with_roles(path, str(name))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        raise _unknown(str(name), "no such folder")
    try:
        return _with_roles(Path(snapshot_download(str(name), allow_patterns=HUB_FILES)), str(name))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise _unknown(str(name), str(error).splitlines()[0]) from None


def _with_roles(path: Path, name: str) -> Path:
    for folder in (path / "checkpoint", path):  # a training stage keeps bare roles beside its checkpoint
        if (folder / "av").is_dir():
            return folder
    raise _unknown(name, f"{path} has no av/ and no checkpoint/")


def _unknown(name: str, reason: str) -> UsageError:
    return UsageError(
        f"no checkpoint {name!r} ({reason}).\n"
        "  Expected a folder with av/ and ar/, a run's folder with a checkpoint/ in it, a hub name, or 'builtin'.\n"
        "  Train one: legible train tiny --out runs/tiny\n"
        "  A plain model is read without training: legible read MODEL TEXT --method logit-lens"
    )
