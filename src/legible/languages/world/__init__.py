"""The built-in world: stories from a hidden state, where the truth of every claim is decidable."""

from legible.languages.world.language import WorldLanguage
from legible.languages.world.lexicon import IMPLIED_KINDS, KINDS, VALUES
from legible.languages.world.stories import Story, story, story_document
from legible.languages.world.tokenizer import build_tokenizer, content_words

LANGUAGE = WorldLanguage()

__all__ = [
    "IMPLIED_KINDS",
    "KINDS",
    "LANGUAGE",
    "VALUES",
    "Story",
    "WorldLanguage",
    "build_tokenizer",
    "content_words",
    "story",
    "story_document",
]
