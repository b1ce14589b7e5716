"""Facts that are true by construction of any English text."""

from legible.languages.facts.language import FactsLanguage

LANGUAGE = FactsLanguage()

__all__ = ["LANGUAGE", "FactsLanguage"]
