"""A target whose files name several ends of a text: whoever lets it write stops at the same ones."""

import json
import shutil
from pathlib import Path

import pytest
from families import tiny, words

from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate.foresight import continued
from legible.instruments import SelfIE
from legible.languages.base import Row
from legible.models.target import Target
from legible.reading.locate import locate
from legible.reading.reader import load
from legible.serve.completing import complete_work
from legible.serve.sources import Source
from legible.steer.steering import steer_text

TEXT = "Our hero Pavel rested beside the desert. Pavel kept a hammer in the pocket. Strangers called"


def ending(folder: Path, name: str, ids: object) -> Path:
    """A folder of a model with these ends of a text in one of its configurations."""
    path = folder / name
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {"eos_token_id": ids}))
    return folder


@pytest.fixture(scope="module", params=["config.json", "generation_config.json"])
def reader(request, tmp_path_factory):
    """The shipped pair on its target, whose files end a text also at a full stop."""
    folder = Path(shutil.copytree(locate("builtin").folder / "target", tmp_path_factory.mktemp("ends") / "target"))
    stop = Target.load(str(folder)).tokenizer.convert_tokens_to_ids(".")
    return load("builtin", target=str(ending(folder, request.param, [2, stop])))


def test_every_writer_stops_at_a_second_end_of_text(reader):
    target = reader.checkpoint.target
    stop = target.tokenizer.convert_tokens_to_ids(".")
    assert target.end_ids == (2, stop)

    *_, end = (
        frame for frame in complete_work(Source("a", reader), TEXT, None, max_tokens=40, temperature=0.0) if frame
    )
    assert end["stopped"]
    assert stop not in end["completion_ids"]

    steered = steer_text(reader, TEXT, pos=-3, replacement="Hero Pavel is at the well.", strengths=[0.1], max_tokens=40)
    written = [one for tried in (steered.untouched, *steered.steered) for one in tried.continuations]
    assert [one.cut for one in written] == [False] * len(written)
    assert all(stop not in one.tokens for one in written)
    assert list(steered.untouched.continuations[0].tokens) == end["completion_ids"]
    assert steered.untouched.nats is not None

    encoded = target.encode(TEXT)
    row = Row(Document("d", TEXT), len(encoded.ids) - 1, len(TEXT), 0, encoded.ids[-1], encoded.ids[-2])
    texts = continued(target, row, samples=4, seed=0)
    assert all(texts)
    assert not any("." in text for text in texts)


def test_ends_are_those_of_the_tokenizer_and_of_both_configurations(tmp_path):
    target = tiny("llama")
    target.model.save_pretrained(tmp_path)
    words().save_pretrained(tmp_path)
    assert Target.load(str(tmp_path)).end_ids == (1,)
    ending(tmp_path, "config.json", [1, 7])
    ending(tmp_path, "generation_config.json", [9])
    assert Target.load(str(tmp_path)).end_ids == (1, 7, 9)
    ending(tmp_path, "generation_config.json", "x")
    with pytest.raises(UsageError, match="eos_token_id 'x'"):
        Target.load(str(tmp_path))


def test_an_instrument_stops_there_too(reader):
    target = reader.checkpoint.target
    vectors = target.arch.embedding.weight[10:14].clone()
    assert not any("." in (said.text or "") for said in SelfIE(target, 2).read(vectors))
