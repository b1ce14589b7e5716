"""What every section of a run's configuration is, and how plain values become one."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from legible.errors import ConfigError


class Section(BaseModel):
    """Base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Section)


def validated(section: type[S], tree: Any, source: str = "the configuration") -> S:
    """A section made from plain values.

    Args:
        section: its class.
        tree: a mapping of its fields.
        source: what the message calls it.

    Raises:
        ConfigError: an unknown key or a value that does not fit, named with its place.
    """
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        faults: dict[str, list[str]] = {}  # a value that may be of several types has one message for each of them
        for e in error.errors():
            faults.setdefault(f"{_place(e['loc'], tree, e['type'])} = {e['input']!r}", []).append(e["msg"])
        found = "; ".join(f"{what}: {', or '.join(messages)}" for what, messages in faults.items())
        raise ConfigError(
            f"{source} does not fit: {found}.\n"
            "  The usual cause is a misspelt key or a value of another type.\n"
            "  Compare it with the config.json of a finished run, or see --help."
        ) from None


def _place(loc: tuple[str | int, ...], tree: Any, fault: str) -> str:
    """The dotted place of a fault in the tree, without pydantic's names of the types that it tried there."""
    parts, node = [], tree
    for place, part in enumerate(loc):
        inside = isinstance(part, int) if isinstance(node, list | tuple) else isinstance(node, Mapping) and part in node
        if inside:
            node = node[part]
        if inside or (fault == "missing" and place == len(loc) - 1):
            parts.append(str(part))
    return ".".join(parts) or "the whole"
