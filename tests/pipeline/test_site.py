"""The static site: every page linked, twinned and escaped, the same bytes from the same inputs."""

import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from stores import claim, reading, write_store

from legible.archive.site import build_site
from legible.reading.markdown import escaped
from legible.reading.saved import saved_readings

EVIL = '<script>alert("x")</script><img src=x onerror=y>[a](http://b) |`*\x1b[31m\u202e\ufffe]]>'
ATOM = "{http://www.w3.org/2005/Atom}"


class Page(HTMLParser):
    """The tags of a page and where its links go."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]


@pytest.fixture
def inputs(tmp_path) -> list[Path]:
    store = write_store(tmp_path / "evil.db", EVIL, {
        ("../../etc/passwd", f"Pavel {EVIL}"): [reading(0, EVIL, [claim(EVIL, EVIL, 0.9, text=EVIL)], flags=(EVIL,))],
        ("two", "Dora kept a knife."): [reading(1, "kept", [claim("holds", "knife", 0.4)])],
    })  # fmt: skip
    lines = [json.dumps(one.as_dict()) for one in (reading(0, "Mina", [claim(None, None, text=EVIL)]),)]
    (tmp_path / "reading.json").write_text("\n".join(lines), encoding="utf-8")
    return [store, tmp_path / "reading.json"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_page_is_listed_linked_and_has_a_twin(inputs, tmp_path, legible):
    site = tmp_path / "site"
    outcome = legible("report", *map(str, inputs), "--out", str(site), "--title", EVIL, "--json")
    assert outcome.code == 0
    pages = [json.loads(line) for line in outcome.out.splitlines()]
    assert [page["html"] for page in pages] == [
        "pages/00001-etc-passwd.html", "pages/00002-two.html", "pages/00003-reading.html",
    ]  # fmt: skip
    both = {address for page in pages for address in (page["html"], page["markdown"])}
    assert set(files(site)) == {"index.html", "index.md", "llms.txt", "feed.xml", "legible-site.json", *both}
    index = Page((site / "index.html").read_text(encoding="utf-8"))
    assert both <= set(index.links)
    feed = ET.fromstring((site / "feed.xml").read_bytes())
    assert [entry.find(f"{ATOM}link").get("href") for entry in feed.iter(f"{ATOM}entry")] == [p["html"] for p in pages]
    assert len({entry.text for entry in feed.iter(f"{ATOM}id")}) == 4
    assert all(page["markdown"] in (site / name).read_text(encoding="utf-8") for page in pages
               for name in ("llms.txt", "index.md"))  # fmt: skip


def test_links_lead_to_files_and_nothing_is_fetched(inputs, tmp_path):
    site = tmp_path / "site"
    build_site(inputs, site)
    for path in site.rglob("*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        assert not {"script", "img", "iframe"} & set(page.tags)
        for link in page.links:
            assert link.startswith("#") or (path.parent / link).resolve().is_relative_to(site)
            assert link.startswith("#") or (path.parent / link).is_file()


def test_hostile_strings_are_escaped_everywhere(inputs, tmp_path):
    site = tmp_path / "site"
    build_site(inputs, site, title=EVIL)
    for name, data in files(site).items():
        text = data.decode()
        assert "<script" not in text, name
        assert "\x1b" not in text, name
        assert "\u202e" not in text, name
        if name.endswith((".md", ".txt")):
            assert "<img" not in text
            assert "[a](http" not in text
    assert "&lt;script&gt;" in (site / "pages/00001-etc-passwd.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in (site / "pages/00001-etc-passwd.md").read_text(encoding="utf-8")


def test_the_same_inputs_give_the_same_bytes_and_old_pages_go(inputs, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    build_site(inputs, first)
    build_site(inputs, second)
    assert files(first) == files(second)
    (first / "CNAME").write_text("example.org", encoding="utf-8")
    build_site(inputs[1:], first)
    assert {name for name in files(first) if "/" in name} == {"pages/00001-reading.html", "pages/00001-reading.md"}
    assert (first / "CNAME").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(inputs, tmp_path, legible):
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear", encoding="utf-8")
    outcome = legible("report", str(inputs[0]), "--out", str(home))
    assert outcome.code == 2
    assert "holds something else" in outcome.err
    assert files(home) == {"letter.txt": b"dear"}


def test_a_manifest_cannot_name_files_outside(inputs, tmp_path):
    site, victim = tmp_path / "site", tmp_path / "pages" / "victim.html"
    build_site(inputs, site)
    victim.parent.mkdir()
    victim.write_text("mine", encoding="utf-8")
    names = {"pages": ["../pages/victim.html", "pages/../../pages/victim.html", str(victim), 3]}
    (site / "legible-site.json").write_text(json.dumps(names), encoding="utf-8")
    build_site(inputs, site)
    assert victim.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_saved_readings_are_the_readings(mark, tmp_path):
    said = "b\u2028c\x85d"  # separators for str.splitlines, not for JSON lines
    denied = claim("holds", "knife", 0.4, polarity="negative", subject="hero")
    mine = [
        reading(0, "a", [denied], unparsed=("if sad",)),
        reading(1, said, [], None, flags=("ood",), trust=0.8),
    ]
    path = tmp_path / "r.json"
    lines = [json.dumps(one.as_dict(), ensure_ascii=False) for one in mine]
    path.write_text(mark + "\r\n".join(lines), encoding="utf-8")
    assert saved_readings(path) == mine


def test_readings_saved_with_kinds_and_a_threshold_called_trust_are_still_read(tmp_path):
    mine = reading(0, "a", [claim("holds", "knife", 0.9)], trust=0.8)
    row = mine.as_dict()
    old = {name: row["claims"][0][name] for name in ("text", "p_true", "agreement", "leverage", "recurrence", "value")}
    row |= {"claims": [{**old, "kind": "holds"}], "trust": row.pop("threshold")}
    del row["unparsed"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(row), encoding="utf-8")
    assert saved_readings(path) == [mine]


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"pos": "x"}', "not json"])
def test_lines_that_are_no_reading_are_named(line, tmp_path, legible):
    (tmp_path / "r.json").write_text(line + "\n", encoding="utf-8")
    outcome = legible("report", str(tmp_path / "r.json"), "--out", str(tmp_path / "site"))
    assert outcome.code == 2
    assert "is not a reading" in outcome.err or "holds no reading" in outcome.err


def test_markdown_escapes_what_acts():
    assert escaped("*a* http://b <i>") == "\\*a\\* http\\://b &lt;i&gt;"


def test_every_page_shows_the_text_whole_with_the_tokens_that_were_read_in_their_places(tmp_path):
    text = "Dora kept a knife, a rope and a knife in the old barn."
    second = text.rindex("knife")
    store = write_store(tmp_path / "few.db", "few", {("one", text): [reading(1, "kept", []), reading(3, "knife", [])]})
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE readings SET char_start=?, char_end=? WHERE pos=3", (second, second + 5))
    build_site([store], tmp_path / "site")
    page = next((tmp_path / "site" / "pages").glob("*.html")).read_text(encoding="utf-8")
    strip = re.search(r'<div class="card strip">(.*?)</div>', page, re.S)[1]
    assert re.sub(r"<[^>]*>", "", strip) == text
    assert re.search(r'a rope and a <a [^>]*href="#t3"[^>]*>knife</a> in the old barn', strip)
    assert "The tokens of it that were read" not in page


def test_saved_readings_of_some_tokens_say_where_the_text_has_gaps(tmp_path):
    lines = [reading(0, "<s>", [], flags=("special_token",)), reading(3, "Dora", []), reading(4, " kept", []),
             reading(9, " barn", [])]  # fmt: skip
    (tmp_path / "some.json").write_text("\n".join(json.dumps(one.as_dict()) for one in lines), encoding="utf-8")
    assert build_site([tmp_path / "some.json"], tmp_path / "site")[0].title == "Dora kept … barn"
