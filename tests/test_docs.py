"""What is written about the program is what the program is: the reference, the examples, the README's commands."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_command_line_reference_is_not_stale():
    script = str(ROOT / "scripts" / "cli_reference.py")
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_examples_in_python_print_what_the_page_and_the_notebook_show():
    script = str(ROOT / "scripts" / "run_examples.py")
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def commands() -> list[str]:
    """Every `legible …` line of the README's and the pages' shell blocks, and of every verb's help."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|text)\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            found += re.findall(r"^\s*(?:\.venv/bin/|[A-Z_]+=\S+ )?(legible .+)$", block, re.M)
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_every_documented_command_parses(line):
    from legible.cli.main import app

    command = re.split(r"  | \| | > ", line)[0]
    words = shlex.split(command, comments=True)[1:]
    if not words or words[-1] in ("--help", "VERB"):
        return
    root = typer.main.get_command(app)
    context = root.make_context("legible", words)
    while hasattr(root, "resolve_command"):
        name, root, words = root.resolve_command(context, [*context._protected_args, *context.args])
        context = root.make_context(name, list(words), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_the_explained_reading_is_what_the_program_writes():
    from legible import load
    from legible.display import probability

    page = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    text, positions = re.search(r'read builtin "([^"]+)" --positions (\S+)\n', page).groups()
    shown = " ".join(re.search(r"```text\n(.*?)```", page, re.S)[1].split())
    for reading in load("builtin").read(text, positions=positions):
        plain = reading.plain() + (f" ({reading.notes()})" if reading.notes() else "")
        words = re.escape(plain).replace(r"\ ", r"(?: [01]\.\d\d(?:/[01]\.\d\d)?)* ")
        assert re.search(words, shown), reading
        assert f"{'/'.join(map(probability, reading.trusted()))} {reading.fve_token:.2f}" in shown, reading


def test_the_readmes_corpus_is_made_read_searched_and_published_by_copy_and_paste(legible, tmp_path, monkeypatch):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"Whole corpora.*?```sh\n(.*?)```", page, re.S)[1].splitlines()
    assert [line.split()[1] for line in lines] == ["world", "read", "search", "report"]
    monkeypatch.chdir(tmp_path)
    for line in lines:
        command, _, file = line.partition(" > ")
        done = legible(*shlex.split(command)[1:])
        assert done.code == 0, done.err
        if file:
            Path(file).write_text(done.out, encoding="utf-8")
    assert "20 pages" in done.out
    assert len(list((tmp_path / "site" / "pages").glob("*.html"))) == 20


def run_example(name: str, *arguments: str) -> None:
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"](*arguments)


def test_the_reading_example_runs(micro_run, capsys):
    run_example("read_a_story", str(micro_run))
    assert "true" in capsys.readouterr().out


def test_the_capture_example_runs(micro_run, tmp_path, capsys):
    run_example("capture_and_export", str(micro_run / "target"), str(tmp_path))
    assert "64 activations of width 32" in capsys.readouterr().out
    assert (tmp_path / "activations.parquet").exists()


def test_the_scoring_example_runs(micro_run, capsys):
    run_example("score_your_own_words", str(micro_run))
    assert capsys.readouterr().out.count("FVE") == 2


def test_every_example_has_a_test():
    tested = set(re.findall(r'run_example\("(\w+)"', Path(__file__).read_text(encoding="utf-8")))
    assert tested == {path.stem for path in (ROOT / "examples").glob("*.py")}
