"""What every section of a run's configuration is, and how plain values become one."""

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
        places = [(".".join(str(part) for part in e["loc"]) or "the whole", e) for e in error.errors()]
        found = "; ".join(f"{place} = {e['input']!r}: {e['msg']}" for place, e in places)
        raise ConfigError(
            f"{source} does not fit: {found}.\n"
            "  The usual cause is a misspelt key or a value of another type.\n"
            "  Compare it with the config.json of a finished run, or see --help."
        ) from None
