"""Teachers: who writes the text that warm-starts verbalizer and reconstructor.

Every language teaches what it knows. Any other teacher is one file of this folder that exposes `TEACHER`, an `Offer`;
it is found by the file's name.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from legible import languages
from legible.config import TeachConfig
from legible.errors import UsageError
from legible.teachers.base import Explanation, Offer, Refusal, Teacher, count_taught, read_taught, teach
from legible.teachers.language import LanguageTeacher

__all__ = ["Explanation", "Offer", "Refusal", "Teacher", "count_taught", "make_teacher", "offers",
           "read_taught", "teach", "unknown_name"]  # fmt: skip


def offers() -> dict[str, Offer]:
    """What the files of this folder offer, by their names, which stand before the colon in a configuration."""
    modules = {module.name: import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)}
    return {name: module.TEACHER for name, module in modules.items() if hasattr(module, "TEACHER")}


def make_teacher(config: TeachConfig, *, cache: Path | None = None, role: str = "teacher") -> Teacher:
    """The teacher of a configuration.

    Args:
        config: `teacher` is the name of a language, or as the `usage` of an offer says, e.g. `openai:MODEL[@URL]`.
        cache: file that keeps the answers of an HTTP teacher.
        role: what the errors of a language model call it.

    Raises:
        UsageError: an unknown name, a missing key, an impossible setting, or no such local model.
    """
    if config.teacher in languages.names():
        return LanguageTeacher(languages.get(config.teacher), seed=config.seed)
    found = offers()
    offer = found.get(config.teacher.partition(":")[0])
    teacher = offer.make(config, cache, role) if offer is not None else None
    if teacher is None:
        raise unknown_name(config.teacher, role, [*languages.names(), *(each.usage for each in found.values())])
    return teacher


def unknown_name(name: str, role: str, known: Sequence[str]) -> UsageError:
    """The error for a name that nothing answers to."""
    return UsageError(
        f"unknown {role} {name!r}, expected {', '.join(known[:-1])} or {known[-1]}.\n"
        f"  Example: --{role} openai:my-model@http://localhost:8000/v1"
    )
