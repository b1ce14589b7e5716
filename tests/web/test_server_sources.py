"""What a server says about itself: its sources and their reports, its routes, its address and its end."""

import copy
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
from fastapi.testclient import TestClient
from serving import TEXT, TOKEN

from legible.serve.app import create_app
from legible.serve.settings import Settings
from legible.serve.sources import Source, source_ids


def test_stored_reports_are_served_and_only_those(reader, tmp_path, monkeypatch):
    folder = tmp_path / "run" / "checkpoint"
    folder.mkdir(parents=True)
    (tmp_path / "run" / "report.json").write_text(json.dumps({"fve": 0.5, "config": {"out": str(tmp_path)}}))
    moved = copy.copy(reader)
    moved.checkpoint = copy.copy(reader.checkpoint)
    object.__setattr__(moved.checkpoint, "path", folder)
    app = create_app({"a": reader, "b": moved}, Settings(token=TOKEN))
    with TestClient(app, base_url="http://127.0.0.1", headers={"x-api-key": TOKEN}) as client:
        assert client.get("/api/v1/evaluation/b").json() == {"source": "b", "evaluation": {"fve": 0.5}, "truth": None}
        assert client.get("/api/v1/sources").json()["sources"][1]["reports"] == ["evaluation"]
        assert client.get("/api/v1/evaluation/..%2fb").status_code == 404
        assert client.post("/api/v1/read", json={"text": TEXT, "source": "/etc"}).status_code == 404


def test_the_shipped_pair_comes_with_its_reports(client):
    """What the Evaluate view shows by default: the evaluation with the control battery, and the truth of the claims."""
    found = client.get("/api/v1/evaluation/builtin").json()
    evaluation, truth = found["evaluation"], found["truth"]
    bars = {name: evaluation[name]["value"] for name in ("fve", "context_fve")}
    assert bars["fve"] >= 0.75, bars
    assert bars["context_fve"] >= 0.65, bars
    assert {"text_only_writer", "second_reconstructor"} <= {row["name"] for row in evaluation["controls"]}
    assert truth["ece"] <= 0.05, truth["ece"]
    source = client.get("/api/v1/sources").json()["sources"][0]
    assert source["reports"] == ["evaluation", "truth"]
    assert source["target"] == "legible-world-tiny"


def test_every_route_stands_in_the_documentation(app):
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    for path, methods in app.openapi()["paths"].items():
        assert path in page, path
        for name in methods:
            assert re.search(rf"{name.upper()} {re.escape(path)}", page), (name, path)


def test_ids_of_sources_are_short_and_unique():
    assert source_ids(["builtin", "runs/tiny/checkpoint", "/a/b/tiny/", "org/name", "ü ü", "a/<img src=x>"]) == [
        "builtin", "tiny", "tiny-2", "name", "checkpoint", "img-src-x",
    ]  # fmt: skip


def test_a_source_names_no_folder(reader):
    moved = copy.copy(reader)
    moved.checkpoint = copy.copy(reader.checkpoint)
    target = copy.copy(reader.checkpoint.target)
    target.name = "/somewhere/private/my-target"
    object.__setattr__(moved.checkpoint, "target", target)
    object.__setattr__(moved.checkpoint, "contract", reader.checkpoint.contract.model_copy(update={"legible": None}))
    assert Source("x", moved).target_name == "my-target"


def test_the_program_prints_its_address_serves_and_stops_cleanly():
    command = [sys.executable, "-m", "legible.cli.main", "serve", "--port", "0", "--no-open", "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        base, token = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)#token=([\w-]{43})", address).groups()
        assert httpx.get(base, timeout=60).status_code == 200
        assert httpx.get(f"{base}api/v1/sources", timeout=60).status_code == 401
        answer = httpx.get(f"{base}api/v1/sources", headers={"authorization": f"Bearer {token}"}, timeout=60)
        assert answer.json()["sources"][0]["id"] == "builtin"
        httpx.get(f"{base}{token}/?token={token}", timeout=60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out == ""
    assert token not in err
    assert "stopped" in err
