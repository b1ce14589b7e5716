"""Names that people type: the one that a mistyped name was probably meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelt most like this one; None where none is close.

    Args:
        name: as it was typed.
        known: the names that there are.

    Example:
        >>> nearest("buildin", ["builtin", "smollm2"]), nearest("gpt2", ["builtin", "smollm2"])
        ('builtin', None)
    """
    return next(iter(get_close_matches(name.lower(), list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question to put behind an error, ' Did you mean builtin?'; empty where no known name is close.

    Args:
        name: as it was typed.
        known: the names that there are.
    """
    found = nearest(name, known)
    return f" Did you mean {found}?" if found else ""


def in_words(names: Iterable[str]) -> str:
    """Names as an error lists them: 'a, b or c'."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
