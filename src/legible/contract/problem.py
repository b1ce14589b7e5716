"""A broken promise of a contract."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What was found, what was expected, how to mend it."""

    what: str
    expected: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}.\n  {self.mend}"
