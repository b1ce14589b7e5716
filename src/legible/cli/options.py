"""Command-line options made from a configuration section: one option a field, the field's text is its help.

A field `lr` becomes `--lr`; the field `lr` of the nested section `verbalizer` becomes `--verbalizer-lr`. An option
that is not given keeps the field's default. Values are checked by the section itself.
"""

import inspect
import json
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from legible.config import Placement, Section, validated
from legible.errors import UsageError
from legible.names import did_you_mean, in_words
from legible.reading.positions import parse_positions
from legible.recipes import parse_value

CheckpointName = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT", help="Run directory, checkpoint directory, hub name, or a shipped pair: builtin, smollm2."
    ),
]
"""The argument of every verb that takes a checkpoint."""
OtherTarget = Annotated[
    bool,
    typer.Option(
        "--other-target",
        help="Read the --target even where its weights are not those that the pair was trained on; every reading says "
        "so.",
    ),
]
"""The option of verbs that read a model with a pair."""
Reconstructor = Annotated[
    str | None,
    typer.Option(
        "--reconstructor",
        metavar="NAME",
        help="Folder or hub name of the reconstructor, if not beside the verbalizer; 'none': words without scores.",
    ),
]
"""The option of every verb that takes a checkpoint."""


def allowed(other_target: bool) -> Literal["allowed", "refused"]:
    """What `legible.load` takes of `--other-target`."""
    return "allowed" if other_target else "refused"


Verb = TypeVar("Verb", bound=Callable[..., None])
Checked = TypeVar("Checked", bound=Section)
_PANEL = "__"  # joins a nested section's name and its field in a parameter name
_HINT = (
    "The usual cause is a misspelt value, or one of another type.\n"
    "  Give what the message expects, or leave the option out for its default; --help shows each with its values."
)


def chosen_from(option: str, choices: Iterable[str]) -> Callable[[str | None], str | None]:
    """A callback for an option that takes one of some names: another is refused before anything heavy is imported.

    Args:
        option: its flag.
        choices: the names.

    Raises:
        UsageError: (the callback) a value that is none of them.
    """
    names = tuple(choices)

    def check(value: str | None) -> str | None:
        if value is not None and value not in names:
            raise UsageError(f"{option} is {value!r}, expected {in_words(names)}.{did_you_mean(value, names)}")
        return value

    return check


def checked_positions(spec: str) -> str:
    """The callback of --positions: what is no spec is refused before there is a text to apply it to.

    Raises:
        UsageError: it is none.
    """
    parse_positions(spec, 1, partial=True)
    return spec


def section_options(
    section: type[Section], default: Section | None = None, *, renamed: Mapping[str, str] | None = None
) -> Callable[[Verb], Verb]:
    """Decorate a verb that takes `config: section` so that it shows the section's fields as options.

    Args:
        section: the configuration class.
        default: where the shown defaults come from; the class's own when absent.
        renamed: fields whose option has another name.
    """
    base = default if default is not None else section()
    names = renamed or {}
    fields = [(names.get(name, name), name, field, value) for name, field, value in _flat(section, base)]

    def decorate(verb: Verb) -> Verb:
        @wraps(verb)
        def run(**arguments: Any) -> Any:
            given = {name: arguments.pop(option) for option, name, _, _ in fields}
            values = {name: text for name, text in given.items() if text is not None}
            return verb(config=from_options(base, values, renamed=names), **arguments)

        own = inspect.signature(verb, eval_str=True).parameters
        kept = [parameter for parameter in own.values() if parameter.name != "config"]
        added = [_parameter(option, field, value) for option, _, field, value in fields]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*kept, *added)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return cast(Verb, run)

    return decorate


def placed(verb: Verb) -> Verb:
    """Decorate a verb that takes `place: Placement` so that it shows --device, --dtype and --quantize."""
    return _placed(verb, tuple(Placement.model_fields))


def on_device(verb: Verb) -> Verb:
    """Decorate a verb that takes `place: Placement` and trains a whole model in float32: it shows --device alone."""
    return _placed(verb, ("device",))


def _placed(verb: Verb, shown: tuple[str, ...]) -> Verb:
    @wraps(verb)
    def run(**arguments: Any) -> Any:
        given = {name: arguments.pop(name) for name in shown}
        values = {name: value for name, value in given.items() if value is not None}
        return verb(place=_of_options(Placement, values), **arguments)

    own = inspect.signature(verb, eval_str=True).parameters
    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.values() if p.name != "place"]
    fields = Placement.model_fields
    added = [_parameter(name, fields[name], fields[name].default) for name in shown]
    run.__signature__ = inspect.Signature([*kept, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*kept, *added)}
    return cast(Verb, run)


def from_options(base: Section, values: dict[str, str], *, renamed: Mapping[str, str] | None = None) -> Any:
    """A copy of `base` with some fields given as text.

    Args:
        base: the section.
        values: texts by field.
        renamed: fields whose option has another name.

    Raises:
        ConfigError: a value of the wrong type or out of the field's choices.
    """
    tree: dict[str, Any] = base.model_dump()
    for name, text in values.items():
        *parents, leaf = name.split(_PANEL)
        branch = tree
        for parent in parents:
            branch[parent] = branch[parent] if branch.get(parent) is not None else {}
            branch = branch[parent]
        value = parse_value(text)
        several = isinstance(branch.get(leaf), tuple) and not isinstance(value, list)
        branch[leaf] = [value] if several else value
    return _of_options(type(base), tree, renamed)


def _of_options(section: type[Checked], tree: Any, renamed: Mapping[str, str] | None = None) -> Checked:
    """A section made from options; an error calls each by its flag."""

    def flag(place: str) -> str:
        if " " in place:  # of no single field
            return place
        names = [(renamed or {}).get(part, part) for part in place.split(".") if not part.isdecimal()]
        return _flag(_PANEL.join(names))

    return validated(section, tree, "an option", hint=_HINT, called=flag)


def _flat(section: type[Section], value: Section | None, prefix: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    for name, field in section.model_fields.items():
        default = getattr(value, name) if value is not None else None
        nested = _nested(field.annotation)
        if nested:
            yield from _flat(nested, default, f"{prefix}{name}{_PANEL}")
        else:
            yield f"{prefix}{name}", field, default


def _nested(annotation: Any) -> type[Section] | None:
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    found = [option for option in options if isinstance(option, type) and issubclass(option, Section)]
    return found[0] if found else None


def _parameter(name: str, field: FieldInfo, default: Any) -> inspect.Parameter:
    shown = "" if default is None else f"  [default: {_shown(default)}]"
    whose = f"{name.split(_PANEL)[0]}: " if _PANEL in name else ""
    extra = field.json_schema_extra
    metavar = str(extra["metavar"]) if isinstance(extra, dict) else _metavar(field.annotation)
    option = typer.Option(_flag(name), metavar=metavar, help=f"{whose}{field.description}{shown}")
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def _flag(name: str) -> str:
    """The option of a parameter's name."""
    return "--" + name.replace(_PANEL, "-").replace("_", "-")


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(str(item) for item in value)
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _metavar(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return "|".join(_metavar(choice) for choice in get_args(annotation) if choice is not types.NoneType)
    names: dict[Any, str] = {int: "INTEGER", float: "NUMBER", bool: "true|false", str: "TEXT"}
    return names.get(annotation, "VALUE")
