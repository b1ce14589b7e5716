"""What may name a checkpoint: decided without torch, so that a verb refuses a mistyped name at once."""

import re
import shlex
from pathlib import Path

from legible.errors import UsageError
from legible.names import did_you_mean
from legible.reading.shipped import shipped, shipped_names

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check_name(name: str | Path) -> None:
    """Refuse what can be no checkpoint: neither a shipped pair, nor a folder here, nor of the form OWNER/NAME.

    Args:
        name: as it was given.

    Raises:
        UsageError: it is none of these; the message asks back where a shipped pair has almost that name.
    """
    name = str(name)
    if shipped(name) is not None or Path(name).is_dir():
        return
    if Path(name).exists():
        raise unknown(name, "it is a file")
    if not _HUB_NAME.fullmatch(name):
        raise unknown(name, "no such folder")


def unknown(name: str, reason: str) -> UsageError:
    """The error of a name that no checkpoint has.

    Args:
        name: as it was given.
        reason: what was found in its place.
    """
    as_text = f"\n  If this is the text, name first what reads it: legible read builtin {shlex.quote(name)}"
    hint = as_text if any(letter.isspace() for letter in name.strip()) else ""
    return UsageError(
        f"no checkpoint {name!r} ({reason}).{did_you_mean(name, shipped_names())}{hint}\n"
        "  Expected a folder with av/ and ar/, a run's folder with a checkpoint/ in it, a hub name, or a pair that\n"
        f"  ships here ({', '.join(shipped_names())}). Of a pair in two folders or repositories name either one, e.g. "
        "OWNER/NAME-av.\n"
        "  Train one: legible train tiny --out runs/tiny\n"
        "  A plain model is read without training: legible read MODEL TEXT --method logit-lens"
    )
