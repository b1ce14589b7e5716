"""Teachers by the names that a configuration gives them."""

from pathlib import Path

from legible.config import TeachConfig
from legible.errors import UsageError
from legible.languages.world import WorldLanguage
from legible.teachers.base import Teacher
from legible.teachers.facts import FactsTeacher
from legible.teachers.http import HttpTeacher, anthropic_service, openai_service
from legible.teachers.local import LocalTeacher
from legible.teachers.world import LanguageTeacher


def make_teacher(config: TeachConfig, *, cache: Path | None = None, role: str = "teacher") -> Teacher:
    """The teacher of a configuration.

    Args:
        config: `teacher` is `world`, `facts`, `openai:MODEL[@URL]`, `anthropic:MODEL[@URL]` or `local:PATH`.
        cache: file that keeps the answers of an HTTP teacher.
        role: what the errors of a language model call it.

    Raises:
        UsageError: an unknown name, a missing key, an impossible setting, or no such local model.
    """
    kind, _, rest = config.teacher.partition(":")
    if config.teacher == "world":
        return LanguageTeacher(WorldLanguage(), seed=config.seed)
    if config.teacher == "facts":
        return FactsTeacher(seed=config.seed)
    if kind == "local" and rest:
        return LocalTeacher(rest, config, role=role)
    model, at, url = rest.partition("@http")
    if kind in ("openai", "anthropic") and model:
        _check(config)
        service = (openai_service if kind == "openai" else anthropic_service)(
            model, "http" + url if at else None, config
        )
        return HttpTeacher(config.teacher, service, config, cache, role=role)
    raise UsageError(
        f"unknown teacher {config.teacher!r}, expected world, facts, "
        "openai:MODEL[@URL], anthropic:MODEL[@URL] or local:PATH.\n"
        "  Example: --teacher openai:my-model@http://localhost:8000/v1"
    )


def _check(config: TeachConfig) -> None:
    for name, value, least in (
        ("concurrency", config.concurrency, 1),
        ("retries", config.retries, 0),
        ("timeout", config.timeout, 1e-3),
    ):
        if value < least:
            raise UsageError(f"teach.{name} is {value}, expected at least {least:g}.")
