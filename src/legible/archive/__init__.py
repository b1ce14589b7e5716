"""Archives: the readings of whole corpora in one SQLite file, searchable, countable and comparable."""

from legible.archive.searching import Archive

__all__ = ["Archive"]
