"""`make demo` with the pair that ships inside the package."""

import re
from pathlib import Path

import legible as package
from legible.languages.world import build_tokenizer, story_document
from legible.reading.shipped import shipped, shipped_names, shipped_target
from legible.recipes.demo import choose, demonstrate


def test_the_demo_reads_a_story_and_prints_the_reports_path(legible, tmp_path):
    path = tmp_path / "demo.html"
    done = legible("demo", "--seed", "1", "--out", str(path))
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) < 60
    assert max(len(line) for line in lines if not line.startswith("report: ")) <= 100
    assert f"report: {path}" in lines
    others = [name for name in shipped_names() if shipped_target(name) is None]
    last = [["legible", "read"], ["legible", "serve"], *(["legible", "demo"] for _ in others)]
    assert [line.split()[:2] for line in lines[-len(last) :]] == last
    assert [line.split()[2] for line in lines[-len(others) :] if others] == others
    assert " ".join(" ".join(lines[1:13]).split()).startswith(story_document("test", 1, 0).text)
    page = path.read_text(encoding="utf-8")
    assert '<span class="true">' in page
    assert str(Path.home()) not in page


def test_what_the_demo_says_of_a_reading_is_true_of_it():
    found = demonstrate(0)
    assert 5 <= len(found.shown) <= 12
    assert found.missing == []
    stand = {one.why.partition(":")[0]: one for one in reversed(found.shown)}
    assert set(stand) == {"early", "context", "implied", "withheld", "wrong", "fullest"}
    text = found.document.text
    every = {reading.pos: reading for reading in found.readings}
    ends = [end for _, end in build_tokenizer()(text, return_offsets_mapping=True)["offset_mapping"]]
    assert not set(".!?") & set(text[: ends[stand["early"].reading.pos]])

    def value(sort):
        return re.search("“(.+?)”", stand[sort].why)[1]

    def claim(sort):
        return next(one for one in every[stand[sort].reading.pos].claims if one.value == value(sort))

    assert claim("context").verdict == claim("implied").verdict == "true"
    assert claim("wrong").verdict in ("false", "open")
    assert claim("withheld").p_true < 0.8
    assert value("withheld") not in {one.value for one in stand["withheld"].reading.claims}
    assert all(one.verdict == "true" for one in stand["fullest"].reading.claims)
    assert value("implied") not in text[: ends[stand["implied"].reading.pos]]


def test_a_sort_of_reading_that_a_story_does_not_have_is_named():
    shown, missing = choose("", [], {}, [])
    assert shown == []
    assert "a claim that is wrong" in missing
    assert len(missing) == 6


def test_the_builtin_pair_reads_its_world_and_flags_what_is_not(tmp_path):
    reader = package.load("builtin")
    inside = reader.read("Our hero Pavel rested beside the desert. Strangers called his kind a fox.", positions="-1")[0]
    outside = reader.read("Our hero Pavel pushed a commit to GitHub.", positions="-1")[0]
    assert inside.fve_token > 0.5
    assert "Pavel" in inside.explanation
    assert "ood" in outside.flags
    assert "ood" not in inside.flags


def test_the_builtin_pair_is_small_and_without_pickles():
    folder = shipped("builtin")
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in found) <= 12 * 10**6
    assert {path.suffix for path in found} <= {".safetensors", ".json", ".yaml", ".md", ".jinja", ".txt"}
