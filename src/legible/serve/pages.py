"""The page's own files, read once at start: a request's path only looks up a dictionary, never the disk."""

from dataclasses import dataclass
from pathlib import Path

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
}
_WITHOUT = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>Legible</title>"
    b"<p>The server runs; its page is not installed. The API is described at <a href=/openapi.json>/openapi.json</a>."
)


@dataclass(frozen=True)
class Page:
    """One file."""

    body: bytes
    type: str


def load_pages(folder: Path) -> dict[str, Page]:
    """Every file of the page by its address; `/` is `index.html`, or a line that says it is missing.

    Files of types that the page does not use are left out.
    """
    found: dict[str, Page] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file() and path.suffix in _TYPES:
            found["/" + path.relative_to(folder).as_posix()] = Page(path.read_bytes(), _TYPES[path.suffix])
    found["/"] = found.get("/index.html", Page(_WITHOUT, _TYPES[".html"]))
    return found
