"""Explanation stores: the readings of whole corpora in one SQLite file, searchable, countable and comparable."""

from legible.analysis.store.searching import ExplanationStore

__all__ = ["ExplanationStore"]
