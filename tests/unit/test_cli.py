"""The program's face: help, exit codes, where output goes. Everything that needs a checkpoint is in pipeline/."""

import json

import pytest

from legible import load
from legible.errors import ConfigError


def test_the_version_is_printed(legible):
    assert legible("--version").out.startswith("legible 0.")


def test_an_unknown_verb_is_bad_usage(legible):
    assert legible("raed").code == 2


def test_a_story_is_a_function_of_its_seed(legible):
    first, again, other = (legible("world", "sample", "--seed", seed).out for seed in ("4", "4", "5"))
    assert first == again != other


def test_a_story_as_json_knows_every_fact_at_every_token(legible):
    done = legible("world", "sample", "--seed", "4", "--json")
    story = json.loads(done.out)
    assert done.err == ""
    ends = [token["char_end"] for token in story["tokens"]]
    assert ends == sorted(ends)
    assert ends[-1] == len(story["text"])
    assert {fact["status"] for token in story["tokens"] for fact in token["facts"].values()} == {
        "stated", "implied", "open",
    }  # fmt: skip
    assert story["state"].keys() <= story["facts"].keys()


def test_several_stories_are_a_corpus_whose_facts_the_world_knows(legible, tmp_path):
    from legible.documents import read_corpus
    from legible.languages.world import LANGUAGE

    path = tmp_path / "texts.jsonl"
    path.write_text(legible("world", "sample", "--count", "5", "--index", "2", "--json-lines").out)
    assert list(read_corpus(path)) == LANGUAGE.documents("test", 0, 5, skip=2)
    plain = legible("world", "sample", "--count", "5", "--index", "2").out
    assert plain.splitlines() == [document.text for document in read_corpus(path)]


def test_single_sentences_are_sampled_with_what_is_true_in_them(legible):
    done = legible("world", "sample", "--sentences", "1", "--held-out", "--count", "20", "--json")
    stories = [json.loads(line) for line in done.out.splitlines()]
    assert len(stories) == 20
    for story in stories:
        assert story["text"].count(".") + story["text"].count("?") == 1
        assert story["doc_id"].startswith("world-test-1s-0-")
        assert story["nats"] is None
    assert {fact["status"] for story in stories for fact in story["facts"].values()} >= {"stated", "implied", "open"}


def refused(done, *words):
    """The outcome is bad usage with one clear message: no traceback, nothing on stdout."""
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.startswith("error: ")
    for word in words:
        assert word in done.err
    return True


def test_bad_input_before_any_model_is_refused(legible, tmp_path):
    latin = tmp_path / "latin.txt"
    latin.write_bytes("Überall".encode("latin-1"))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    assert refused(legible("read", "no-such-run", "Hi there."), "no checkpoint 'no-such-run'", "legible train tiny")
    assert refused(legible("read", "Hi there."), "If this is the text", "legible read builtin 'Hi there.'")
    assert refused(legible("read", "builtin"), "either as an argument or with --file")
    assert refused(legible("read", "builtin", "  "), "is empty")
    assert refused(legible("read", "builtin", "--file", str(latin)), "latin.txt is not UTF-8 (byte 0)", "iconv")
    assert refused(legible("read", "builtin", "--file", str(tmp_path / "none")), "no file at")
    assert refused(legible("read", "builtin", "Hi", "--samples", "0"), "--samples is 0, expected at least 1")
    assert refused(legible("train", "tyni", "--out", str(tmp_path / "r")), "no recipe 'tyni'", "tiny, laptop, small")
    assert refused(legible("train", "tiny", "--out", str(tmp_path / "r"), "--set", "rl.stepz=1"), "rl.stepz")
    assert refused(legible("contract", "check", str(tmp_path / "none")), "nothing at")
    missing = ("train", "small", "--target", "x", "--corpus", str(tmp_path / "no"), "--out", str(tmp_path / "r"))
    assert refused(legible(*missing), "no corpus at")
    assert refused(legible("world", "sample", "--seed", "-1"), "--seed is -1")
    assert refused(legible("world", "sample", "--count", "0"), "--count is 0")
    assert refused(legible("world", "sample", "--sentences", "4"), "expected 1 to 3")
    assert refused(legible("world", "sample", "--held-out", "--split", "train"), "only test is held out")
    assert refused(legible("world", "sample", "--json", "--json-lines"), "do not go together")
    assert not (tmp_path / "r").exists()


def test_a_wrong_option_value_names_the_field(legible, tmp_path):
    done = legible("pretrain", "--out", str(tmp_path / "t"), "--steps", "many")
    assert refused(done, "steps = 'many'", "valid integer")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("read", "builtin", "x", "--device", "gpu"), "--device = 'gpu'"),
        (("read", "builtin", "x", "--dtype", "float8"), "--dtype = 'float8'"),
        (("steer", "builtin", "x", "--replace", "a=b", "--quantize", "int8"), "--quantize = 'int8'"),
        (("capture", "x", "--out", "s", "--store-dtype", "float8"), "--store-dtype = 'float8'"),
        (("sft", "m", "s", "t", "--layer", "1", "--out", "o", "--adapter-rank", "x"), "--adapter-rank = 'x'"),
        (("capture", "x", "--out", "s", "--layers", "1,two"), "--layers = 'two'"),
    ],
)
def test_a_wrong_option_is_called_by_its_flag_and_the_hint_is_about_options(command, expected, legible):
    done = legible(*command)
    assert refused(done, expected, "leave the option out for its default")
    assert "config.json" not in done.err
    assert "misspelt key" not in done.err


def test_a_wrong_placement_in_python_is_not_called_a_configuration():
    with pytest.raises(ConfigError, match=r"device = 'gpu'.*\n.*help\(legible.Placement\)"):
        load("builtin", device="gpu")


def test_an_unknown_key_in_a_saved_configuration_is_named(legible, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"layre": 3}))
    assert refused(legible("train", str(path), "--out", str(tmp_path / "r")), "layre", "config.json")


def test_a_folder_that_is_no_run_is_left_alone(legible, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert refused(legible("train", "tiny", "--out", str(tmp_path)), "it is unknown what made it")


def test_ctrl_c_exits_cleanly(legible, monkeypatch):
    from legible.languages.world import story_document

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("legible.languages.world.language.story_document", interrupt)
    done = legible("world", "sample")
    assert done.code == 130
    assert "Traceback" not in done.err
    assert callable(story_document)
