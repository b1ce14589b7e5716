"""Languages by name, as configurations and contracts write them."""

from legible.errors import UsageError
from legible.languages.base import Language
from legible.languages.facts.language import FactsLanguage
from legible.languages.world import WorldLanguage


def language_for(name: str | None) -> Language | None:
    """The language that a corpus or checkpoint was made with; None for free text, whose truth nobody decides.

    Raises:
        UsageError: no language of that name.
    """
    if name is None:
        return None
    if name == "world":
        return WorldLanguage()
    if name == "facts":
        return FactsLanguage()
    raise UsageError(
        f"unknown language {name!r}, expected 'world', 'facts' or none.\n"
        "  It stands in the checkpoint's nla_meta.yaml under `legible: language`."
    )
