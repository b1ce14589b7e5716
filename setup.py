"""The one part of the package's description that pyproject.toml cannot say: the README as an index page can show it.

A package index has no files beside the page. Links into the repository become absolute where `project.urls` of
pyproject.toml names a `Source`, and words with the file's path where it does not.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]+)\]\((?P<where>(?!https?://|mailto:)[^)\s]+)\)")


def description(page: str, source: str | None) -> str:
    """The page without a relative link.

    Args:
        page: Markdown, as it stands in the repository's root.
        source: the repository's address; None where it has none.
    """

    def absolute(link: re.Match[str]) -> str:
        text, where = link["text"], link["where"]
        if where.startswith("#"):
            return text  # an index page has no anchors
        if source is not None:
            return f"{link['image']}[{text}]({source.rstrip('/')}/{'raw' if link['image'] else 'blob'}/main/{where})"
        if link["image"]:
            return ""
        path = where.partition("#")[0]
        return text if text == path else f"{text}, in {path}"

    return _LINK.sub(absolute, page)


def _source() -> str | None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Source")


if __name__ == "__main__":
    setup(
        long_description=description((ROOT / "README.md").read_text(encoding="utf-8"), _source()),
        long_description_content_type="text/markdown",
    )
