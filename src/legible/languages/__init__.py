"""Languages: what is true of a text, words for it, and claims out of words.

A language is a folder of this one whose package exposes `LANGUAGE`, an instance of `legible.languages.base.Language`;
it is found by the folder's name and imported when it is first asked for.
"""

from importlib import import_module
from pkgutil import iter_modules

from legible.errors import UsageError
from legible.languages.base import Language


def names() -> list[str]:
    """The languages there are, as configurations and contracts write them."""
    return sorted(module.name for module in iter_modules(__path__) if module.ispkg)


def get(name: str) -> Language:
    """The language of this name.

    Raises:
        UsageError: there is none.

    Example:
        >>> [(claim.relation, claim.value) for claim in get("world").parse("The hero is a fox, feels sad.").claims]
        [('species', 'fox'), ('mood', 'sad')]
    """
    if name not in names():
        raise UsageError(
            f"unknown language {name!r}, expected {', '.join(names())} or none.\n"
            "  Choose one of them with --teacher, --labels or --language."
        )
    language: Language = import_module(f"{__name__}.{name}").LANGUAGE
    return language
