"""`legible.load` in a notebook's hands: what it reads, what it shows, and what it says of wrong input."""

import copy
import dataclasses
import html
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import legible as package
from legible.errors import ContractError, UsageError
from legible.reading.shipped import shipped_target
from legible.session.readings import COLUMNS

FIRST = "Our hero Pavel rested beside the desert."
TEXTS = [FIRST, FIRST + " Strangers called his kind a fox.", "Mira was a fox."]
HOSTILE = "<img src=x onerror=alert(1)></iframe><script>alert(2)</script>\"'\x1b[31m\u202e"


@pytest.fixture(scope="module")
def reader():
    return package.load("builtin")


@pytest.fixture(scope="module")
def readings(reader):
    return reader.read(TEXTS, positions=[1, -1])


@pytest.fixture
def model():
    """The built-in target as a user has it: loaded by transformers, in training mode."""
    return AutoModelForCausalLM.from_pretrained(shipped_target("builtin"), dtype=torch.float32).train()


@pytest.fixture
def finetuned(model):
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        for weight in tuned.parameters():
            weight.mul_(1.01)
    return tuned


def test_readings_are_flat_in_the_order_of_texts_and_positions(reader, readings):
    lengths = [len(reader.target.encode(text).ids) for text in TEXTS]
    assert readings.text_index == (0, 0, 1, 1, 2, 2)
    assert [item.pos for item in readings] == [pos for n in lengths for pos in (1, n - 1)]
    assert [item.pos for item in reader.read(FIRST, positions=[-1, 1, -1])] == [lengths[0] - 1, 1]
    assert [item.pos for item in readings.of_text(1)] == [1, lengths[1] - 1]


def test_several_texts_read_as_each_does_alone(reader, readings):
    for index, text in enumerate(TEXTS):
        alone = reader.read(text, positions=[1, -1])
        for one, other in zip(alone, readings.of_text(index), strict=True):
            assert one.explanation == other.explanation
            assert one.fve_token == pytest.approx(other.fve_token, abs=1e-4)
            assert [claim.p_true for claim in one.claims] == pytest.approx(
                [claim.p_true for claim in other.claims], abs=1e-3
            )


@pytest.mark.parametrize(
    ("positions", "expected"),
    [("all", range(9)), (-1, [8]), ([1, -1], [1, 8]), (slice(-2, None), [7, 8]), (slice(6, 99), [6, 7, 8]),
     (slice(None, None, 4), [0, 4, 8]), ("4:6", [4, 5]), (range(2, 4), [2, 3]),
     (np.array([3, -1]), [3, 8]), (np.int64(4), [4]), (torch.tensor([5]), [5]), ([np.int64(6)], [6])],
)  # fmt: skip
def test_positions_are_what_python_means_by_them(reader, positions, expected):
    found = reader.activations(FIRST, positions)
    assert torch.equal(found, reader.activations(FIRST)[list(expected)])


def test_activations_are_those_of_a_hook_and_rows_match_the_readings(reader, readings):
    found = reader.activations(TEXTS, [1, -1])
    kept = []
    block = reader.target.model.model.layers[reader.layer]
    handle = block.register_forward_hook(lambda module, args, out: kept.append(out))
    ids = torch.tensor([reader.target.encode(TEXTS[1]).ids])
    with torch.no_grad():
        reader.target.model(ids)
    handle.remove()
    assert found.shape == (6, reader.d_model)
    assert torch.allclose(kept[0][0][[1, -1]], found[2:4], atol=1e-3)
    assert found.norm(dim=-1).tolist() == pytest.approx([item.norm for item in readings], rel=1e-5)


def test_vectors_are_explained_as_their_tokens_are_read_without_probabilities(reader, readings):
    explanations = reader.explain(reader.activations(TEXTS, [1, -1]))
    assert [item.explanation for item in explanations] == [item.explanation for item in readings]
    assert [item.fve_token for item in explanations] == pytest.approx([item.fve_token for item in readings], abs=1e-4)
    assert all(claim.p_true is None for claim in explanations.claims)
    assert len(explanations.claims) == len(readings.claims)
    assert explanations[0].as_dict()["index"] == 0
    assert "token" not in explanations[0].as_dict()
    assert list(explanations.to_pandas().columns) == ["index", "explanation", "fve_token", "norm", "flags"]


def test_words_score_as_the_reading_that_wrote_them(reader, readings):
    vectors = reader.activations(TEXTS, [1, -1])
    words = [item.explanation for item in readings]
    for score, item in zip(reader.score(words, vectors), readings, strict=True):
        assert score.fve_token == pytest.approx(item.fve_token, abs=1e-4)
    one = reader.score(words[1], vectors[1])
    assert one.direction_mse == pytest.approx(readings[1].direction_mse, abs=1e-4)
    back = reader.reconstruct(words[1])
    assert back.shape == (reader.d_model,)
    assert torch.allclose(back, reader.reconstruct(words)[1], atol=1e-4)
    cosine = torch.cosine_similarity(back, vectors[1], dim=0)
    assert one.direction_mse == pytest.approx(2 * (1 - float(cosine)), abs=1e-4)


def test_a_data_frame_has_a_row_a_reading(reader, readings):
    frame = readings.to_pandas()
    assert tuple(frame.columns) == COLUMNS
    assert frame["text_index"].tolist() == [0, 0, 1, 1, 2, 2]
    assert frame["explanation"].tolist() == [item.shown for item in readings]
    for row, item in zip(frame.itertuples(), readings, strict=True):
        mean, least = item.trusted()
        assert (row.p_mean, row.p_min) == pytest.approx((mean, least))
        assert row.p_min <= row.p_mean
    outside = reader.read("The committee postponed its vote.", positions=-1).to_pandas()
    assert outside["p_mean"].isna().all()
    assert outside["flags"].tolist() == ["ood"]


def test_without_pandas_the_error_says_how_to_get_it(readings, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        readings.to_pandas()


def test_trust_withholds_and_claims_filter(reader):
    text = TEXTS[1] + " What terrible hail that was. Pavel kept a hammer in the pocket."
    plain, sure = (reader.read(text, positions="-3:", trust=trust) for trust in (None, 0.9))
    kept = plain.claims.trusted(0.9)
    assert 0 < len(kept) < len(plain.claims)
    assert [claim.key for claim in kept] == [claim.key for claim in sure.claims]
    assert all(claim.p_true >= 0.9 for claim in kept)
    assert sum(item.withheld for item in sure) == len(plain.claims) - len(kept)
    assert {(claim.text_index, claim.pos) for claim in kept} <= {(0, item.pos) for item in plain}
    with pytest.raises(UsageError, match="between 0 and 1"):
        plain.claims.trusted(80)


def test_a_notebook_shows_the_report_in_a_frame_that_nothing_leaves(readings):
    shown = readings._repr_html_()
    pages = [html.unescape(page) for page in re.findall(r'srcdoc="([^"]*)"', shown)]
    assert len(pages) == len(TEXTS)
    assert shown.count("<iframe sandbox ") == len(TEXTS)
    for page, item in zip(pages, readings[1::2], strict=True):
        assert f'id="t{item.pos}"' in page
        assert "Content-Security-Policy" in page
    bad = [dataclasses.replace(readings[0], token=HOSTILE, explanation=HOSTILE, claims=())]
    found = type(readings)(bad, [0], [HOSTILE], {**readings.about, "other_target": HOSTILE})
    outer = found._repr_html_()
    assert "<img" not in outer
    assert "<script" not in outer
    inner = html.unescape(re.search(r'srcdoc="([^"]*)"', outer)[1])
    assert "<img" not in inner
    assert "<script" not in inner
    assert not {"\x1b", "\u202e"} & set(outer + repr(found) + repr(found[0]))


def test_what_is_shown_in_a_terminal_is_a_table(reader, readings):
    lines = repr(readings).splitlines()
    assert lines[0].startswith("<6 readings of 3 texts, layer 2: text, pos, token")
    assert "Pavel is at the desert" in lines[2]
    assert "[ood]" in repr(reader.read("The committee postponed its vote.", positions=-1))
    assert repr(reader) == "<legible.Session builtin: reads layer 2 of legible-world-tiny>"
    assert "… 8 more" in repr(reader.read(TEXTS, positions=slice(0, 7)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "the text is None, expected a text, or a list of texts"),
        (3, "the text is of type int"),
        (b"a fox", "text.decode"),
        (Path("a.txt"), "path.read_text"),
        ([], "the list of texts is empty"),
        ([["a"]], "text 0 of 1 .* is of type list, expected a string.*flat list"),
        (["a fox", None], "text 1 of 2 .* is None"),
        ({"a": 1}, "of type dict"),
        (torch.zeros(3), "of type Tensor"),
        (["a fox", "  "], r"text 1 of 2 \(counted from 0\): the text is empty"),
    ],
)
def test_what_is_no_text_gets_a_sentence(reader, text, message):
    with pytest.raises(UsageError, match=re.compile(message, re.S)):
        reader.read(text)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"positions": None}, "positions is None, expected 'all', an index such as -1"),
        ({"positions": True}, "positions is True"),
        ({"positions": 1.5}, "positions is 1.5"),
        ({"positions": []}, "name no token"),
        ({"positions": [99]}, "position 99 is out of range"),
        ({"positions": slice(50, 60)}, "name no token"),
        ({"samples": "3"}, "samples is '3', expected a whole number"),
        ({"samples": 0}, "at least 1"),
        ({"seed": None}, "seed is None"),
        ({"trust": "high"}, "trust is 'high', expected a number"),
        ({"trust": 80}, "between 0 and 1"),
        ({"progress": 3}, "progress is 3"),
        ({"chat": True}, "no chat template"),
    ],
)
def test_impossible_arguments_get_a_sentence(reader, how, message):
    with pytest.raises(UsageError, match=message):
        reader.read(FIRST, **how)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.score("a fox", torch.ones(5)), r"shape \[5\], but .* 128 wide"),
        (lambda r: r.score(["a fox"] * 2, torch.ones(3, 128)), "2 explanations and 3 vectors"),
        (lambda r: r.score(None, torch.ones(128)), "the text is None"),
        (lambda r: r.reconstruct(""), "has no token"),
        (lambda r: r.explain(None), "the vectors are None"),
        (lambda r: r.explain(torch.ones(1, 3, 128)), "batch dimension"),
        (lambda r: r.explain(torch.zeros(2, 128)), "row 0 of the tensor given holds zeros alone"),
        (lambda r: r.explain(torch.ones(2, 128), tensor="a"), "the vectors are no file"),
        (lambda r: r.explain([[1.0], [1.0, 2.0]]), "no matrix"),
        (lambda r: r.steer(None), "the text is None"),
        (lambda r: r.steer(FIRST, "ring=pie"), "edits is 'ring=pie'"),
        (lambda r: r.steer(FIRST, {"gold": "pie"}), "the words 'gold' are not in the explanation"),
    ],
)
def test_other_calls_say_what_is_wrong_too(reader, call, message):
    with pytest.raises(UsageError, match=message):
        call(reader)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"name": None}, "the checkpoint is None"),
        ({"name": ""}, "an empty string"),
        ({"other_target": True}, "other_target is True, expected 'allowed' or 'refused'"),
        ({"target": 3}, "the target is of type int"),
        ({"target": torch.nn.Linear(2, 2)}, "expected a name, a folder or a causal LM"),
    ],
)
def test_what_cannot_be_loaded_gets_a_sentence(how, message):
    with pytest.raises(UsageError, match=message):
        package.load(**{"name": "builtin", **how})


def test_a_model_in_memory_is_read_and_left_as_it_was(reader, model):
    found = package.load("builtin", target=model)
    assert found.read(TEXTS[1], positions=-1) == reader.read(TEXTS[1], positions=-1)
    assert "other_target" not in found.about()
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())
    model.model.embed_tokens.weight.sum().backward()
    assert next(found.target.model.parameters()).data_ptr() == next(model.parameters()).data_ptr()


def test_a_model_that_does_not_say_where_it_comes_from_needs_its_tokenizer(reader, model):
    nameless = AutoModelForCausalLM.from_config(copy.deepcopy(model.config), dtype=torch.float32)
    nameless.load_state_dict(model.state_dict())
    nameless.name_or_path = nameless.config._name_or_path = ""
    with pytest.raises(UsageError, match="tokenizer="):
        package.load("builtin", target=nameless)
    found = package.load("builtin", target=nameless, tokenizer=reader.target.tokenizer)
    assert found.read(FIRST, positions=-1) == reader.read(FIRST, positions=-1)
    with pytest.raises(UsageError, match="goes with a model in memory"):
        package.load("builtin", tokenizer=reader.target.tokenizer)


def test_a_finetune_is_refused_unless_it_is_allowed_and_every_reading_says_so(finetuned, tmp_path, reader):
    with pytest.raises(ContractError, match="other_target='allowed'"):
        package.load("builtin", target=finetuned)
    found = package.load("builtin", target=finetuned, other_target="allowed")
    readings = found.read(TEXTS, positions=[1, -1])
    assert all("other_target" in item.flags for item in readings)
    assert all("other_target" in item.flags for item in found.explain(found.activations(FIRST)))
    assert "is not the model that this pair was trained on" in readings.warning
    assert readings.warning in repr(readings)
    assert html.escape(html.escape(readings.warning)) in readings._repr_html_()
    assert set(readings.to_pandas()["flags"]) == {"other_target"}
    assert not torch.allclose(found.activations(FIRST), reader.activations(FIRST), rtol=1e-3)
    finetuned.save_pretrained(tmp_path / "tuned")
    reader.target.tokenizer.save_pretrained(tmp_path / "tuned")
    stored = package.load("builtin", target=tmp_path / "tuned", other_target="allowed")
    assert stored.read(TEXTS, positions=[1, -1]) == readings


def test_a_model_of_another_width_is_refused_in_memory_too(reader, model):
    config = copy.deepcopy(model.config)
    config.hidden_size, config.num_attention_heads, config.num_key_value_heads, config.head_dim = 64, 4, 4, 16
    narrow = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ContractError, match=r"width 128, but .* has 64"):
        package.load("builtin", target=narrow, tokenizer=reader.target.tokenizer, other_target="allowed")


def test_steering_is_one_line(reader):
    story = "Mira was a fox. She felt jealous. Mira wanted the ring."
    found = reader.steer(story, {"ring": "pie"}, strengths=[0.3], controls=False, max_tokens=9)
    again = reader.steer(story, [("ring", "pie")], strengths=[0.3], controls=False, max_tokens=9)
    assert found == again
    assert "pie" in found.chosen.continuations[0].text
    assert "ring" in found.untouched.continuations[0].text
    assert "edited" in repr(found)


def test_a_corpus_is_read_into_an_archive_and_searched(reader, tmp_path):
    corpus = tmp_path / "texts.txt"
    corpus.write_text("\n".join(TEXTS), encoding="utf-8")
    seen = []
    with reader.read_corpus(corpus, tmp_path / "out.db", positions="-1", progress=lambda *at: seen.append(at)) as found:
        assert {hit.value for hit in found.claims("fox", relation="species")} == {"fox"}
    assert seen[-1] == (3, 3)


def test_progress_counts_explanations_and_is_silent_unless_asked(reader, capsys):
    seen = []
    reader.read(TEXTS, positions=-1, progress=lambda *at: seen.append(at))
    assert seen == [(3, 3)]
    capsys.readouterr()
    reader.read(FIRST, positions=-1)
    assert capsys.readouterr().err == ""
    reader.read(FIRST, positions=-1, progress=True)
    assert "reading: 1/1" in capsys.readouterr().err


def test_what_is_published_is_listed_and_documented():
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    assert dir(package) == sorted([*package.__all__, "languages"])
    for name in set(package.__all__) - {"__version__"}:
        assert f"`{name}`" in page, name
        assert (getattr(package, name).__doc__ or "").strip(), name
    assert {"read", "explain", "score", "steer", "activations", "reconstruct", "read_corpus"} <= set(
        dir(package.load("builtin"))
    )


@pytest.fixture(scope="module")
def files(reader, tmp_path_factory):
    """Activations in files, right and wrong."""
    folder = tmp_path_factory.mktemp("vectors")
    rows = reader.activations(FIRST, [-2, -1])
    broken = rows.clone()
    broken[1, 3] = float("nan")
    arrays = {
        "right": rows, "half": rows.half(), "narrow": rows[:, :5], "nan": broken, "batch": rows[None], "none": rows[:0],
        "ids": torch.arange(128)[None],
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array.numpy())
    np.save(folder / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    save_file({"resid": rows}, folder / "one.safetensors")
    save_file({"resid": rows, "norms": rows.norm(dim=-1)}, folder / "two.safetensors")
    (folder / "broken.safetensors").write_bytes(b"no header at all")
    (folder / "broken.npy").write_bytes(b"nothing")
    torch.save(rows, folder / "tensor.pt")
    return folder


@pytest.mark.parametrize(
    "arguments", [("right.npy",), ("half.npy",), ("one.safetensors",), ("two.safetensors", "--tensor", "resid")]
)
def test_vectors_of_a_file_are_explained_on_the_command_line(legible, files, reader, arguments, tmp_path):
    name, *more = arguments
    page = tmp_path / "page.html"
    done = legible("read", "builtin", "--vectors", str(files / name), *more, "--json", "--html", str(page))
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["explanation"] for row in rows] == [i.explanation for i in reader.read(FIRST, positions=[-2, -1])]
    assert [row["index"] for row in rows] == [0, 1]
    assert "What the vectors hold" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("narrow.npy",), "shape [2, 5], but the target of this checkpoint is 128 wide"),
        (("nan.npy",), "row 1 of the tensor given holds NaN"),
        (("batch.npy",), "shape [1, 2, 128], expected [n, 128]"),
        (("none.npy",), "holds no row"),
        (("ids.npy",), "int64, expected floating-point numbers"),
        (("pickled.npy",), "pickled and therefore refused"),
        (("broken.npy",), "no array of numbers"),
        (("broken.safetensors",), "damaged or no safetensors file"),
        (("two.safetensors",), "several tensors; there are: norms, resid"),
        (("two.safetensors", "--tensor", "mlp"), "no tensor 'mlp'; there are: norms, resid"),
        (("right.npy", "--tensor", "resid"), "one array without a name"),
        (("tensor.pt",), "neither .npy nor .safetensors"),
        (("missing.npy",), "no file at"),
        (("right.npy", "--trust", "0.8"), "--trust and --vectors do not go together"),
        (("right.npy", "--positions", "-1"), "--positions and --vectors do not go together"),
        (("right.npy", "--method", "selfie"), "--method and --vectors do not go together"),
    ],
)
def test_vectors_that_cannot_be_read_are_refused(legible, files, arguments, message):
    name, *more = arguments
    done = legible("read", "builtin", "--vectors", str(files / name), *more)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_a_tensor_without_a_file_is_refused(legible):
    done = legible("read", "builtin", "--tensor", "resid")
    assert done.code == 2
    assert "Give the file: --vectors FILE" in done.err
