"""What the program answers, recorded: a change that only moves code leaves every answer equal.

    python scripts/golden.py            compare with scripts/golden.json; exit 1 names what differs
    python scripts/golden.py --record   write scripts/golden.json anew
    python scripts/golden.py --bodies REV   compare the function bodies of src/ with those of a commit, docstrings and
                                            imports aside; exit 1 lists the functions that came, went or changed

Fixed commands with fixed seeds and one thread, on the built-in pair and on a run of the tiny recipe that is killed in
the middle and taken up again; the server's paths, schemas and parameters without their prose; the weights' hashes. The
answers themselves go to runs/golden/, where two of them can be compared. Floating point differs between machines: on
another one record first at the commit before the change.
"""

import ast
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "scripts" / "golden.json"
ANSWERS = ROOT / "runs" / "golden"
sys.path.insert(0, str(ROOT / "tests"))

STORY = (
    "Our hero Pavel rested beside the desert. Strangers called his kind a fox. What terrible hail that was. "
    "Pavel longed to have the crown. Pavel decided to steal the crown."
)
SHORT = "Pavel kept a hammer in the pocket."
OTHER = "The bank raised interest rates. Markets fell."
SMALL = ("--documents", "6", "--threads", "1", "--json")
COMMANDS: dict[str, tuple[str, ...]] = {
    "read": ("read", "builtin", STORY, "--json"),
    "read samples": ("read", "builtin", SHORT, "--samples", "5", "--trust", "0.8", "--json"),
    "read some": ("read", "builtin", STORY, "--positions", "6,8,-1", "--samples", "2", "--seed", "3", "--json"),
    "read best-of-n": ("read", "builtin", SHORT, "--search", "best-of-n", "--budget", "4", "--json"),
    "read beam": ("read", "builtin", SHORT, "--search", "beam", "--budget", "4", "--json"),
    "read tree": ("read", "builtin", SHORT, "--search", "tree", "--budget", "4", "--json"),
    "read outside": ("read", "builtin", OTHER, "--json"),
    "read logit lens": ("read", "builtin", SHORT, "--method", "logit-lens", "--json"),
    "read patchscopes": ("read", "builtin", SHORT, "--method", "patchscopes", "--positions", "-1", "--json"),
    "evaluate": ("evaluate", "builtin", "--foresight-rows", "2", "--probe-rows", "1200", *SMALL),
    "truth": ("truth", "builtin", "--foresight-rows", "2", "--probe-rows", "1200", "--samples", "3", *SMALL),
    "truth single": ("truth", "builtin", "--foresight-rows", "2", "--probe-rows", "1200", "--samples", "1", *SMALL),
    "steer": ("steer", "builtin", STORY, "--replace", "steal=beg", "--max-tokens", "12", "--json"),
    "steer patch": ("steer", "builtin", STORY, "--replace", "steal=beg", "--mode", "patch", "--max-tokens", "8",
                    "--json"),
    "fill": ("read", "builtin", "--corpus", "texts.jsonl", "--archive", "a.db", "--positions-per-doc", "3", "--json"),
    "fill other": ("read", "builtin", "--corpus", "texts.jsonl", "--archive", "b.db", "--positions-per-doc", "3",
                   "--samples", "2", "--json"),
    "search": ("search", "a.db", "hammer", "--json"),
    "search claims": ("search", "a.db", "--claim", "--count", "--min-trust", "0.5", "--json"),
    "diff": ("diff", "a.db", "b.db", "--json"),
    "report": ("report", "a.db", "--out", "site", "--json"),
    "scan": ("scan", "builtin", "--layers", "1,2", "--documents", "16", "--threads", "1", "--json"),
    "world": ("world", "sample", "--seed", "7", "--json"),
}  # fmt: skip
UNEQUAL = ("commit", "created_at", "git_commit", "machine", "started", "ended", "created", "version", "seconds")
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
PROSE = ("description", "summary", "title", "examples", "example")


def main() -> None:
    """Record or compare; see the module."""
    if sys.argv[1:2] == ["--bodies"]:
        sys.exit(_compare_bodies(sys.argv[2]))
    found = {name: _hash(value) for name, value in _kept(_answers())}
    if sys.argv[1:] == ["--record"]:
        RECORD.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"recorded {len(found)} answers in {RECORD.relative_to(ROOT)}")
        return
    before = json.loads(RECORD.read_text(encoding="utf-8"))
    different = sorted(name for name in {*before, *found} if before.get(name) != found.get(name))
    print(f"{len(found) - len(different)} of {len(before)} answers equal", *different, sep="\n  ")
    sys.exit(bool(different))


def _answers() -> Iterator[tuple[str, Any]]:
    """(name, answer) of everything that is recorded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        texts = [{"id": str(i), "text": text} for i, text in enumerate((STORY, SHORT, OTHER))]
        (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts), encoding="utf-8")
        for title, command in COMMANDS.items():
            yield title, _call(command)
        yield "site", _files(folder / "site", "*")
        run = _killed_run(folder / "run")
        yield "train", json.loads((run / "report.json").read_text(encoding="utf-8"))
        yield "train weights", _files(run / "checkpoint", "*.safetensors")
        yield "train calibrator", _files(run / "checkpoint", "calibrator.json")
        yield "read trained", _call(("read", "run", STORY, "--positions", "20:24", "--json"))
        os.chdir(ROOT)
    yield "api", _without(_schema(), PROSE)
    yield "weights", _files(ROOT / "src" / "legible" / "pairs" / "builtin", "*.safetensors")


def _kept(answers: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The answers without what may differ between equal runs, written to `ANSWERS` on their way."""
    ANSWERS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for name, answer in answers:
        value = _without(answer, UNEQUAL)
        text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
        (ANSWERS / f"{name.replace(' ', '-')}.json").write_text(text, encoding="utf-8")
        print(f"{time.monotonic() - start:6.1f} s  {name}", file=sys.stderr)
        yield name, value


def _call(command: tuple[str, ...]) -> dict[str, Any]:
    """Exit code and stdout of a command, its JSON lines parsed."""
    from legible.cli.main import main as program

    out = io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        try:
            program(list(command))
        except SystemExit as stop:
            code = int(stop.code or 0)
    if code:
        raise SystemExit(f"legible {' '.join(command)} ended with {code}")
    return {"out": [json.loads(line) for line in out.getvalue().splitlines()]}


def _killed_run(out: Path) -> Path:
    """A run of the tiny recipe, made small, killed once in the warm start and once in the joint training."""
    from micro import MICRO

    settings = [part for setting in MICRO for part in ("--set", setting)]
    command = [sys.executable, "-m", "legible.cli.main", "train", "tiny", "--layer", "1", *settings, "--out", str(out)]
    for mark in ("sft/av.state.safetensors", "rl/state.safetensors"):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and not (out / mark).exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise SystemExit(f"the run ended before it could be killed at {mark}")
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return out


def _schema() -> dict[str, Any]:
    """The server's description of itself."""
    from legible.reading.reader import load
    from legible.serve.app import create_app
    from legible.serve.settings import Settings

    return create_app({"builtin": load("builtin")}, Settings(token="golden")).openapi()


def _files(folder: Path, pattern: str) -> dict[str, str]:
    """SHA-256 of the files below a folder, the times in them left out."""
    files = [path for path in sorted(folder.rglob(pattern)) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(_TIME.sub(b"", path.read_bytes())).hexdigest() for path in files
    }


def _without(value: Any, names: tuple[str, ...]) -> Any:
    """The value without some keys at any depth (where they hold text, numbers or the machine)."""
    if isinstance(value, dict):
        prose = names is PROSE
        return {
            key: _without(inner, names)
            for key, inner in value.items()
            if key not in names or (prose and not isinstance(inner, str | list))
        }
    return [_without(inner, names) for inner in value] if isinstance(value, list) else value


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:16]


def _compare_bodies(revision: str) -> int:
    """Print the functions whose bodies differ from a commit's; 1 if there are any."""
    listed = _git("ls-tree", "-r", "--name-only", revision, "src/legible").splitlines()
    before = Counter(
        body for path in listed if path.endswith(".py") for body in _bodies(_git("show", f"{revision}:{path}"))
    )
    now = Counter(body for path in (ROOT / "src").rglob("*.py") for body in _bodies(path.read_text(encoding="utf-8")))
    for sign, bodies in (("-", before - now), ("+", now - before)):
        for body in sorted(bodies):
            print(sign, re.split(r"\n", body, maxsplit=1)[0][:160])
    print(f"{sum(now.values())} functions now, {sum(before.values())} in {revision}")
    return int(before != now)


def _bodies(source: str) -> Iterator[str]:
    """Every function as text, docstrings and imports left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in ast.walk(node):
                if isinstance(body := getattr(inner, "body", None), list):
                    kept = [each for each in body if not isinstance(each, ast.Import | ast.ImportFrom | ast.Expr)
                            or (isinstance(each, ast.Expr) and not isinstance(each.value, ast.Constant))]  # fmt: skip
                    inner.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
            yield ast.unparse(node)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
