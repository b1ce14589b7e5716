"""The stage that makes the labelled texts of a run."""

from pathlib import Path

from legible.config import TextsConfig
from legible.corpora.own import own_texts
from legible.models.target import Target
from legible.recipes.sources import write_documents


def write_texts(config: TextsConfig, target: Target, out: Path) -> None:
    """Write the run's texts as a corpus file.

    Raises:
        UsageError: the target cannot chat, or a tagger is wanted and spaCy is not installed.
        FetchError: a package could not be had.
    """
    write_documents(out, own_texts(config, target))
