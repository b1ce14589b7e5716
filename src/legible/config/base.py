"""What every section of a run's configuration is, and how plain values become one."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from legible.errors import ConfigError


class Section(BaseModel):
    """Base of every section: frozen, and an unknown key is an error.

    later: fields that came after outputs under this section were made; they are written only where they are set, so
    that whatever was made before keeps its identity.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_later(self, handler(self), self.later)


def without_later(model: BaseModel, written: dict[str, Any], later: Iterable[str]) -> dict[str, Any]:
    """What a model writes, without the fields of `later` that have their default."""
    fields = type(model).model_fields
    unset = {name for name in later if getattr(model, name) == fields[name].default}
    return {name: value for name, value in written.items() if name not in unset}


S = TypeVar("S", bound=Section)
OF_A_FILE = (
    "The usual cause is a misspelt key or a value of another type.\n"
    "  Compare it with the config.json of a finished run, or see --help."
)
"""What to do about a configuration that does not fit, of a run or of `--set`."""


def validated(
    section: type[S],
    tree: Any,
    source: str = "the configuration",
    *,
    hint: str = OF_A_FILE,
    called: Callable[[str], str] = str,
) -> S:
    """A section made from plain values.

    Args:
        section: its class.
        tree: a mapping of its fields.
        source: what the message calls it.
        hint: the usual cause and what to do next, where the values come from elsewhere than a configuration.
        called: what a field is called there, from its dotted place.

    Raises:
        ConfigError: an unknown key or a value that does not fit, named with its place.
    """
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        faults: dict[str, list[str]] = {}  # a value that may be of several types has one message for each of them
        for e in error.errors():
            faults.setdefault(f"{called(_place(e['loc'], tree, e['type']))} = {e['input']!r}", []).append(e["msg"])
        found = "; ".join(f"{what}: {', or '.join(messages)}" for what, messages in faults.items())
        raise ConfigError(f"{source} does not fit: {found}.\n  {hint}") from None


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
