"""Progress of long work on stderr: count, rate and time left, a line every few seconds."""

import sys
import time
from collections.abc import Callable


def note(message: str) -> None:
    """A line of progress on stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def line_progress(label: str, total: int | None = None, every: float = 5.0) -> Callable[[int, int], None]:
    """A callback that writes a line now and then, and at the end.

    Args:
        label: what is done.
        total: how much there is; absent: the callback's second argument says.
        every: seconds between two lines.

    Returns:
        A function of (done, total or another count).
    """
    started = shown = time.monotonic()
    first: int | None = None

    def show(done: int, other: int) -> None:
        nonlocal shown, first
        whole = other if total is None else total
        first = done if first is None else first
        now = time.monotonic()
        if now - shown < every and done < whole:
            return
        shown = now
        rate = (done - first) / max(now - started, 1e-9)
        pace = f", {rate:.1f}/s" + (f", {(whole - done) / rate:.0f} s left" if done < whole else "") if rate > 0 else ""
        sys.stderr.write(f"{label}: {done}/{whole}{pace}\n")
        sys.stderr.flush()

    return show
