"""What is true of any text: of its context, of the words just read, of the next ones and of those to come."""

from legible.languages.text.language import TextLanguage

LANGUAGE = TextLanguage()

__all__ = ["LANGUAGE", "TextLanguage"]
