"""`make demo` with the pair that ships inside the package."""

from importlib.resources import files
from pathlib import Path

import legible as package


def test_the_demo_reads_a_story_and_prints_the_reports_path(legible, tmp_path):
    path = tmp_path / "demo.html"
    done = legible("demo", "--seed", "1", "--out", str(path))
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"report: {path}"
    page = path.read_text(encoding="utf-8")
    assert '<span class="true">' in page
    assert str(Path.home()) not in page


def test_the_builtin_pair_reads_its_world_and_flags_what_is_not(tmp_path):
    reader = package.load("builtin")
    inside = reader.read("Our hero Pavel rested beside the desert. Strangers called his kind a fox.", positions="-1")[0]
    outside = reader.read("Our hero Pavel pushed a commit to GitHub.", positions="-1")[0]
    assert inside.fve_token > 0.5
    assert "Pavel" in inside.explanation
    assert "ood" in outside.flags
    assert "ood" not in inside.flags


def test_the_builtin_pair_is_small_and_without_pickles():
    folder = Path(str(files("legible") / "builtin"))
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in found) <= 12 * 10**6
    assert {path.suffix for path in found} <= {".safetensors", ".json", ".yaml", ".md", ".jinja", ".txt"}
