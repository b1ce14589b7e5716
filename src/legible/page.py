"""Self-contained HTML pages: one file, nothing fetched, no script, light and dark.

Every string that a template prints passes `visible` (no acting characters) and then HTML escaping. The content
security policy allows only the page's own style sheet, by its hash.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from legible.display import probability, visible
from legible.fileio import write_text

STEPS = 10


def write_page(path: Path, template: str, **context: Any) -> None:
    """Render a template of `legible/templates` and write it atomically."""
    write_text(path, render(template, **context))


def render(template: str, **context: Any) -> str:
    """Render a template of `legible/templates` as a whole page."""
    style = _style()
    policy = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _environment().get_template(template).render(style=Markup(style), style_hash=policy, **context)


def tint(share: float | None) -> str:
    """CSS class of a share: `t0` (0 or less) to `t10` (1), `tx` where there is none."""
    return "tx" if share is None or share != share else f"t{round(min(1.0, max(0.0, share)) * STEPS)}"


def shade(share: float | None) -> str:
    """CSS class of a probability: `p0` to `p10`, none where there is none."""
    return "" if share is None or share != share else tint(share).replace("t", "p")


def number(value: float | int | None, digits: int = 2) -> str:
    """A number as it is shown; a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def interval(value: Any, digits: int = 2) -> str:
    """`0.71 [0.69, 0.73]` of a dictionary with value, low and high, or just the number."""
    if isinstance(value, dict):
        if value.get("low") is None:
            return number(value.get("value"), digits)
        return f"{number(value.get('value'), digits)} [{number(value['low'], digits)}, {number(value['high'], digits)}]"
    return number(value, digits)


@cache
def _style() -> str:
    return files("legible").joinpath("templates/style.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("legible", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "probability": probability,
        "tint": tint,
        "shade": shade,
        "number": number,
        "interval": interval,
    }
    return environment


def _finalized(value: Any) -> Any:
    return value if isinstance(value, Markup) else visible(str(value), keep="\n")
