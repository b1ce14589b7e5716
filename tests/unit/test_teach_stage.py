"""The stage that lets a teacher write: it counts, resumes to the same bytes, and keeps to its own file."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from legible.documents import Document
from legible.errors import TeacherError, UsageError
from legible.languages.base import Row
from legible.languages.text import LANGUAGE as TEXT
from legible.teachers import Explanation, Refusal, count_taught, read_taught, teach
from legible.teachers.base import CHUNK, TaughtRow
from legible.teachers.language import LanguageTeacher


class Rows:
    """A store of short passages."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def row(self, index: int, /) -> Row:
        text = f"Once upon a time Lily saw {index} dogs in the park."
        return Row(Document(f"doc{index}", text), 9, len(text) - 1, len(text) - 9, 5, 4)


class SometimesSilent(LanguageTeacher):
    """Refuses every tenth row."""

    calls = 0

    def write(self, rows: Any, keep: Any = None) -> list[Explanation | Refusal]:
        self.calls += 1
        return [
            Refusal("silent") if int(row.document.doc_id[3:]) % 10 == 0 else result
            for row, result in zip(rows, super().write(rows, keep), strict=True)
        ]


def test_the_stage_counts_what_was_written_and_refused(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "teach" / "train.jsonl"
    counts = teach(Rows(100), SometimesSilent(TEXT), out, progress=lambda done, total: seen.append((done, total)))
    assert counts == {"rows": 100, "written": 90, "refused": 10, "refused: silent": 10} == count_taught(out)
    assert seen == [(CHUNK, 100), (100, 100)]
    rows = list(read_taught(out))
    assert [row.row for row in rows] == list(range(100))
    assert rows[0].text is None
    assert {(claim.relation, claim.value) for claim in rows[1].claims} >= {
        ("last_word_2", "the"),
        ("last_word", "park"),
    }


@pytest.mark.parametrize("torn", [0, 1, 17, 2000, 10**6])
def test_a_torn_file_is_finished_to_the_same_bytes(tmp_path: Path, torn: int) -> None:
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    teach(Rows(150), SometimesSilent(TEXT), whole)
    teach(Rows(150), SometimesSilent(TEXT), part)
    with part.open("rb+") as handle:
        handle.truncate(max(0, part.stat().st_size - torn))
    teach(Rows(150), SometimesSilent(TEXT), part)
    assert part.read_bytes() == whole.read_bytes()


def test_a_finished_stage_asks_nothing_again(tmp_path: Path) -> None:
    teach(Rows(CHUNK), SometimesSilent(TEXT), tmp_path / "t.jsonl")
    again = SometimesSilent(TEXT)
    teach(Rows(CHUNK), again, tmp_path / "t.jsonl")
    assert again.calls == 0


def test_a_killed_stage_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests/unit'); import test_teach_stage as t;"
        "t.teach(t.Rows(200), t.SometimesSilent(t.TEXT), Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "LEGIBLE_FAULT": "teach:2", "PYTHONPATH": os.pathsep.join([str(root / "src")])}
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "part.jsonl")], cwd=root, env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < (tmp_path / "part.jsonl").read_bytes().count(b"\n") < 200
    teach(Rows(200), SometimesSilent(TEXT), tmp_path / "part.jsonl")
    teach(Rows(200), SometimesSilent(TEXT), tmp_path / "whole.jsonl")
    assert (tmp_path / "part.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_full_disk_is_named_and_the_stage_goes_on_afterwards(tmp_path: Path) -> None:
    out, whole = tmp_path / "t.jsonl", tmp_path / "whole.jsonl"
    teach(Rows(200), LanguageTeacher(TEXT), whole)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size * 2 // 3, limits[1]))
        with pytest.raises(TeacherError, match=r"cannot write .*t\.jsonl: File too large(.|\n)*run again"):
            teach(Rows(200), LanguageTeacher(TEXT), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    teach(Rows(200), LanguageTeacher(TEXT), out)
    assert out.read_bytes() == whole.read_bytes()


def test_a_limit_covers_every_row_of_its_store(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="limit covers 4 rows, the store holds 5"):
        teach(Rows(5), LanguageTeacher(TEXT), tmp_path / "t.jsonl", keep=[{"topic"}] * 4)


def test_text_from_elsewhere_needs_row_and_text_alone(tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    out.write_text('{"row": 3, "text": "a fox"}\n{"row": 5, "text": null}\nmine\n')
    rows = read_taught(out)
    assert [next(rows), next(rows)] == [TaughtRow(3, "a fox"), TaughtRow(5, None)]
    with pytest.raises(UsageError, match="line 3 is not a teacher's line"):
        next(rows)
