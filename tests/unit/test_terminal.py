"""The program behind a pipe that closes, on a full disk and on a terminal of another encoding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BUFFERED = {"PYTHONUNBUFFERED": ""}
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}


def start(*arguments: str, stdout: object = subprocess.PIPE, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "legible.cli.main", *arguments]
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        command, stdout=stdout, stderr=subprocess.PIPE, env=os.environ | {"PYTHONUTF8": "0"} | environment
    )


@pytest.mark.parametrize("environment", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", [("world", "sample", "--json"), ("--help",)])
def test_a_reader_that_goes_away_is_no_failure(arguments, environment):
    process = start(*arguments, **environment)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("environment", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", [("world", "sample"), ("world", "sample", "--json"), ("--version",)])
def test_a_full_disk_under_stdout_is_named(arguments, environment):
    with open("/dev/full", "wb") as full:
        process = start(*arguments, stdout=full, **environment)
        _, err = process.communicate()
    assert (process.returncode, err) == (1, b"error: standard output: No space left on device\n")


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", rb"\xe9\u2014"), ("latin-1", b"\xe9\\u2014")])
def test_what_stdout_cannot_encode_is_escaped_and_json_stays_json(encoding, shown, tmp_path):
    folder = tmp_path / "é—"
    folder.mkdir()
    out, err = start("contract", "check", str(folder), PYTHONIOENCODING=encoding).communicate()
    assert shown in out
    assert b"Traceback" not in err
    out, err = start("contract", "check", str(folder), "--json", PYTHONIOENCODING=encoding).communicate()
    assert "é—" in json.dumps(json.loads(out.decode("ascii")), ensure_ascii=False)
    assert err == b""


def test_a_closed_stdout_is_no_traceback():
    program = "import os, sys; os.close(1); sys.stdout = None; import legible.cli.main as m; m.main(['--version'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
