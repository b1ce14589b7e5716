"""Chats with a target: labelled, the model's own words, and the same bytes after an interruption."""

import copy
from pathlib import Path

import pytest
import torch
from families import tiny

from legible.corpora import chat
from legible.corpora.chat import ChatConfig, write_chats
from legible.documents import read_corpus
from legible.engines.continuations import continue_prompts
from legible.errors import UsageError
from legible.languages.text.state import speaker
from legible.models.target import Target

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONFIG = ChatConfig(count=72, reply_tokens=6, seed=3)


@pytest.fixture(scope="module")
def target() -> Target:
    found = copy.deepcopy(tiny("llama"))  # others share it
    found.model.config.max_position_embeddings = found.context = 512
    found.tokenizer.chat_template = TEMPLATE
    torch.manual_seed(5)
    return found


@pytest.fixture(scope="module")
def whole(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    about = write_chats(out, target, CONFIG)
    assert sum(about["documents"].values()) == CONFIG.count
    assert about["target"] == target.name
    return out


def test_chats_have_their_questions_labels_and_end_in_the_targets_words(target: Target, whole: Path) -> None:
    documents = list(read_corpus(whole))
    assert len({one.doc_id for one in documents}) == CONFIG.count
    for document in documents:
        assert {"kind", "language", "topic"} <= document.labels.keys() <= {"kind", "language", "topic", "sentiment"}
        assert document.text.count("<|im_start|>user") == document.text.count("<|im_start|>assistant") >= 1
        assert speaker(document.text) in ("assistant", "nobody")


def test_a_first_reply_is_what_the_target_says_alone(target: Target, whole: Path) -> None:
    document = next(iter(read_corpus(whole)))
    prompt, start, rest = document.text.partition("<|im_start|>assistant\n")
    ids = target.encode(f"{prompt}{start}").ids
    [written] = continue_prompts(
        target, [ids], max_tokens=6, temperature=chat.TEMPERATURE, keys=[(3, 0, 0)], stop_ids=target.end_ids
    )
    assert target.tokenizer.decode(written.ids, skip_special_tokens=True).strip() == rest.partition("<|im_end|>")[0]


def test_an_interrupted_corpus_goes_on_to_the_same_bytes(target: Target, whole: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "chats.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write_chats(out, target, CONFIG, progress=stop)
    assert len(out.read_bytes().splitlines()) == chat.CHUNK
    with out.open("ab") as handle:
        handle.write(b'{"torn')
    write_chats(out, target, CONFIG)
    assert out.read_bytes() == whole.read_bytes()
    with pytest.raises(UsageError, match="it differs in seed"):
        write_chats(out, target, ChatConfig(72, 6, 4))


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no chat template"):
        write_chats(tmp_path / "c.jsonl", tiny("llama"), CONFIG)
    assert not list(tmp_path.iterdir())
