"""Whose output a folder holds: the three answers of `claim`, and what it says when the output is somebody else's."""

from pathlib import Path
from typing import Any

import pytest

from legible.config import RLConfig
from legible.errors import UsageError
from legible.fileio import file_sha256
from legible.identity import STATE, Identity, claim, finish, is_finished, once, recorded_parts

STORES = {name: letter * 64 for name, letter in (("one", "a"), ("other", "b"))}


def identity(*, beside: bool = False, store: str = "one", **changes: Any) -> Identity:
    return Identity("rl", {"rl": RLConfig(**changes), "store": STORES[store]}, beside)


def put(out: Path, *, beside: bool) -> None:
    """Something of the work."""
    (out if beside else out / "work.txt").write_text("work")


@pytest.mark.parametrize("beside", [False, True])
def test_an_output_is_new_then_mine_to_go_on_with_then_finished(tmp_path, beside):
    out, mine = tmp_path / "made" / "out", identity(beside=beside)
    assert claim(out, mine) == "new"
    assert claim(out, mine) == "new"  # nothing of it is there yet
    put(out, beside=beside)
    assert claim(out, mine) == "resume"
    finish(out, mine)
    assert claim(out, identity(beside=beside)) == "finished"
    assert recorded_parts(out, beside=beside)["rl"]["steps"] == RLConfig().steps
    assert is_finished(out) is not beside


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_the_parts_that_differ_are_named_and_nothing_changes(tmp_path, beside, whole):
    out = tmp_path / "out"
    claim(out, identity(beside=beside, steps=60))
    put(out, beside=beside)
    if whole:
        finish(out, identity(beside=beside, steps=60))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError) as refused:
        claim(out, identity(beside=beside, steps=10, store="other"))
    told = str(refused.value)
    assert f"{out} holds what legible rl made from something else" in told
    assert "it differs in rl.steps (60 there, 10 now), store.\n" in told  # checksums would say nothing more
    assert "usual cause" in told
    assert "legible rl … --out NEW" in told
    with pytest.raises(UsageError, match="holds what legible rl made, expected the output of legible sft"):
        claim(out, Identity("sft", {}, beside))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("beside", [False, True])
def test_files_of_unknown_origin_are_somebody_elses(tmp_path, beside):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"is there already and has no .*, so it is unknown what made it"):
        claim(out, identity(beside=beside))
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["out", "out/mine.txt"]


def test_a_claim_that_left_nothing_binds_nobody(tmp_path):
    claim(tmp_path, identity(steps=60))
    (tmp_path / ".identity.json.tmp").write_text("torn")  # killed while it was written again
    assert claim(tmp_path, identity(steps=10)) == "new"
    assert recorded_parts(tmp_path)["rl"]["steps"] == 10


def test_a_damaged_identity_is_named(tmp_path):
    (tmp_path / "identity.json").write_text("{")
    (tmp_path / "work.txt").write_text("work")
    with pytest.raises(UsageError, match=r"identity\.json is not the identity of an output"):
        claim(tmp_path, identity())


def test_finished_work_is_not_done_again_and_leaves_no_states(tmp_path):
    done: list[int] = []

    def work() -> None:
        done.append(1)
        (tmp_path / f"av.{STATE}").write_text("state")
        (tmp_path / "best.safetensors").write_text("best")

    once(tmp_path, identity(), work)
    once(tmp_path, identity(), work)
    assert done == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", "identity.json"]


def test_equal_parts_have_equal_digests_in_any_order_and_other_content_another(tmp_path):
    one, other = {"a": 1, "b": (2, 3)}, {"b": [2, 3], "a": 1}
    assert Identity("x", one).digest == Identity("x", other).digest
    assert len({Identity(stage, {"a": a}).digest for stage in "xy" for a in (1, "1", None)}) == 6
    (tmp_path / "f").write_text("a")
    first = file_sha256(tmp_path / "f")
    (tmp_path / "f").write_text("b")
    assert file_sha256(tmp_path / "f") != first
