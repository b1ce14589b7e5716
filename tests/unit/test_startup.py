"""What is refused, or only asked about, is answered without torch; a mistyped name is asked back."""

import json
import subprocess
import sys

import pytest
import typer

from legible.cli.main import PANELS, app
from legible.config.choices import INSTRUMENTS as NAMES

REFUSED = {
    "read buildin text": "Did you mean builtin?",
    "read smolm2 text": "Did you mean smollm2?",
    "read builtin --file no-such-file.txt": "no file at no-such-file.txt",
    "read builtin text --no-such-option": "No such option: --no-such-option",
    "read builtin text --positions first": "positions 'first' are not understood",
    "read builtin text --samples many": "Invalid value for '--samples'",
    "read builtin text --samples 0": "--samples is 0, expected at least 1",
    "read builtin text --method logitlens": "Did you mean logit-lens?",
    "read builtin text --search beem": "expected best-of-n, beam or tree. Did you mean beam?",
    "read builtin text --dtype float7": "--dtype",
    "read builtin --corpus no-such.jsonl --archive out.db": "no corpus at no-such.jsonl",
    "steer buildin text": "Did you mean builtin?",
    "steer builtin text --mode latr": "expected later, one or patch. Did you mean later?",
    "demo smolm2": "Did you mean smollm2?",
    "serve buildin": "Did you mean builtin?",
    "evaluate buildin": "Did you mean builtin?",
    "evaluate builtin --documents few": "--documents",
    "truth builtin --corpus no-such.jsonl": "no corpus at no-such.jsonl",
    "calibrate buildin": "Did you mean builtin?",
    "secrets buildin folder": "Did you mean builtin?",
    "scan builtin --corpus no-such.jsonl": "no corpus at no-such.jsonl",
    "capture builtin --out store --split tst": "Did you mean test?",
    "train tinny --out run": "Did you mean tiny?",
    "rl no/such/run train dev --out run": "no checkpoint 'no/such/run'",
    "target get smolm2": "Did you mean smollm2?",
    "raed": "No such command 'raed'",
}

ASK = """
import contextlib, io, json, sys
from legible.cli.main import main
answers = []
for line in json.loads(sys.stdin.read()):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(line.split())
        except SystemExit as stop:
            code = stop.code
    heavy = sorted({"torch", "transformers", "numpy", "pyarrow"} & set(sys.modules))
    answers.append([code, out.getvalue(), err.getvalue(), heavy])
print(json.dumps(answers))
"""


def answers(lines: list[str]) -> list[tuple[int, str, str, list[str]]]:
    """Exit code, stdout, stderr and the heavy modules loaded so far, of each line called in one fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", ASK], input=json.dumps(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [tuple(answer) for answer in json.loads(done.stdout)]


def test_what_needs_no_model_is_refused_with_the_reason_and_without_torch():
    for line, (code, out, err, heavy) in zip(REFUSED, answers(list(REFUSED)), strict=True):
        assert (code, out, heavy) == (2, "", []), line
        assert REFUSED[line] in err, line


def test_help_and_version_import_no_torch():
    for code, out, err, heavy in answers(["--help", "--version", "read --help", "train --help"]):
        assert (code, err, heavy) == (0, "", [])
        assert "legible" in out


def test_importing_legible_imports_nothing_heavy():
    code = "import sys, legible; print(*sorted({'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "legible", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("legible 0.")


def leaves() -> dict[str, typer.core.TyperCommand]:
    """Every command that does something, by its words: `world sample`."""
    found = {}
    waiting = list(typer.main.get_command(app).commands.items())  # type: ignore[attr-defined]
    for words, command in waiting:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[words] = command
        else:
            waiting += [(f"{words} {name}", each) for name, each in inner.items()]
    return found


@pytest.mark.parametrize("words", sorted(leaves()))
def test_every_verb_has_help_and_an_example(words):
    help_text = leaves()[words].help or ""
    assert f"legible {words}" in help_text.partition("\b")[2]


def test_the_verbs_are_few_and_stand_under_what_they_are_for(legible):
    verbs = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert len(verbs) <= 30
    shown = legible("--help").out
    for panel, registered in PANELS.items():
        lines = shown.split(f"\n{panel}:\n")[1].split("\n\n")[0].splitlines()
        assert len(lines) == len(registered)
        assert [line.split(maxsplit=1)[1] for line in lines] == list(registered.values())
    assert sum(map(len, PANELS.values())) == len(verbs)


def test_the_names_of_methods_are_those_that_there_are():
    from legible.instruments import INSTRUMENTS

    assert tuple(INSTRUMENTS) == NAMES
