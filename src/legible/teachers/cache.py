"""Answers already paid for: one SQLite file, safe to kill, shared by threads."""

import hashlib
import json
import sqlite3
import threading
from pathlib import Path

from legible.errors import TeacherError
from legible.teachers.base import Explanation, Refusal


def answer_key(teacher: str, prompt: str, text: str) -> str:
    """The key of one answer: who was asked, how, and about what."""
    return hashlib.sha256(json.dumps([teacher, prompt, text]).encode()).hexdigest()


class AnswerCache:
    """Texts and refusals by key. Every answer is on disk before it is used.

    Args:
        path: the database file; None keeps answers in memory only.

    Raises:
        TeacherError: the file is no such database.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        try:
            self._rows.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT, reason TEXT)")
        except sqlite3.DatabaseError as error:
            self._rows.close()
            raise TeacherError(
                f"{path} is not a cache of a teacher's answers ({error}).\n"
                "  Move it away; the questions are then asked again."
            ) from None

    def get(self, key: str) -> Explanation | Refusal | None:
        """The stored answer, None where it was never asked."""
        with self._lock:
            found = self._rows.execute("SELECT text, reason FROM answers WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        return Refusal(found[1]) if found[0] is None else Explanation(found[0])

    def put(self, key: str, answer: Explanation | Refusal) -> None:
        """Store an answer; the first one stays, and what is no answer is left out.

        Raises:
            TeacherError: the disk is full or the file unwritable.
        """
        if isinstance(answer, Refusal) and not answer.answered:
            return
        row = (key, None, answer.reason) if isinstance(answer, Refusal) else (key, answer.text, None)
        try:
            with self._lock:
                self._rows.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:
            raise TeacherError(
                f"cannot store an answer in {self._path} ({error}).\n"
                "  Free some space and run again; stored answers are kept."
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._rows.close()
