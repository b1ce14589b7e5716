"""The demonstration: the built-in pair reads a story that neither it nor its target has seen."""

from typing import Any

from legible.documents import Document
from legible.languages.world import story_document
from legible.reading.reader import Reading, load


def read_story(seed: int = 0) -> tuple[Document, list[Reading], dict[str, Any]]:
    """A held-out story, its readings token by token with the verdict on every claim, and what read it."""
    reader = load("builtin")
    document = story_document("test", seed, 0)
    return document, reader.read(document), reader.about()
