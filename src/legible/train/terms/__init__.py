"""The terms of the joint training's reward, each a file: what it measures of a reconstruction, what a rollout earns.

A module here that defines `term(context)` is found by its name and asked once a training; it answers None where the
configuration leaves it out. The error of the reconstruction itself, the length cost and the penalty of a failed parse
are no terms: every training has them.
"""

from importlib import import_module
from pkgutil import iter_modules

from legible.errors import UsageError
from legible.train.terms.base import Context, Term


def terms_of(context: Context) -> list[Term]:
    """The terms that a training's configuration switches on, in the order of their names.

    Raises:
        UsageError: a term without what it needs, or a weight for one that is not there.
        ConfigError: weights that contradict each other.
    """
    names = sorted(module.name for module in iter_modules(__path__))
    makers = {name: module.term for name in names if hasattr(module := import_module(f"{__name__}.{name}"), "term")}
    if unknown := sorted(set(context.config.terms) - set(makers)):
        raise UsageError(f"rl.terms names {', '.join(unknown)}, but the terms are: {', '.join(makers)}.")
    return [term for make in makers.values() if (term := make(context)) is not None]
