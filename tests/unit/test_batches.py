"""Batches and sampled positions are pure functions: everything once, little padding, nothing but the seed decides."""

from hypothesis import given, settings
from hypothesis import strategies as st

from legible.config import CaptureConfig
from legible.data.batches import length_grouped_batches, pad, padding_share
from legible.data.positions import sample_positions, sentence_end_tokens

lengths_lists = st.lists(st.integers(1, 90), min_size=0, max_size=300)


@settings(max_examples=100, deadline=None)
@given(lengths=lengths_lists, batch_tokens=st.integers(1, 1000), epoch=st.integers(0, 3))
def test_every_row_once_within_the_size_and_with_little_padding(lengths, batch_tokens, epoch):
    batches = length_grouped_batches(lengths, batch_tokens, seed=5, epoch=epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= batch_tokens
        assert padding_share(lengths, [batch]) <= 0.10 + 1e-9
    assert batches == length_grouped_batches(lengths, batch_tokens, seed=5, epoch=epoch)


def test_another_epoch_or_seed_is_another_order():
    lengths = [10] * 100
    first = length_grouped_batches(lengths, 100, seed=0, epoch=0)
    assert first != length_grouped_batches(lengths, 100, seed=0, epoch=1)
    assert first != length_grouped_batches(lengths, 100, seed=1, epoch=0)


def test_rows_of_one_length_fill_their_batches():
    assert {len(batch) for batch in length_grouped_batches([8] * 64, 64, seed=0, epoch=0)} == {8}


def test_padding_stands_on_the_right():
    ids, mask = pad([[5, 6, 7], [8]], value=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert pad([])[0].shape == (0, 0)


@settings(max_examples=100, deadline=None)
@given(
    n_tokens=st.integers(0, 80),
    wanted=st.integers(1, 20),
    min_pos=st.integers(0, 60),
    share=st.floats(0, 1),
    ends=st.lists(st.integers(0, 79), unique=True).map(sorted),
    doc_id=st.text(max_size=5),
)
def test_positions_are_distinct_in_range_and_as_many_as_there_are(n_tokens, wanted, min_pos, share, ends, doc_id):
    config = CaptureConfig(positions_per_doc=wanted, min_pos=min_pos, sentence_end_share=share)
    ends = [end for end in ends if end < n_tokens]
    found = sample_positions(doc_id, n_tokens, config, ends)
    assert found == sorted(set(found))
    assert len(found) == min(wanted, max(0, n_tokens - min_pos))
    assert all(min_pos <= pos < n_tokens for pos in found)
    usable = [end for end in ends if end >= min_pos]
    assert len(set(found) & set(usable)) >= min(round(share * wanted), len(usable))
    assert found == sample_positions(doc_id, n_tokens, config, ends)


def test_positions_differ_by_document_and_seed():
    config = CaptureConfig(positions_per_doc=5)
    first = sample_positions("a", 200, config, [])
    assert first != sample_positions("b", 200, config, [])
    assert first != sample_positions("a", 200, CaptureConfig(positions_per_doc=5, seed=1), [])


def test_sentence_ends_are_found_in_the_text():
    text = 'He said "Go." It cost 3.5! So?'
    tokens = ["He", " said", ' "', "Go", '."', " It", " cost", " 3", ".", "5", "!", " So", "?"]
    offsets, at = [(0, 0)], 0
    for token in tokens:
        offsets.append((at, at + len(token)))
        at += len(token)
    assert at == len(text)
    assert sentence_end_tokens(text, offsets) == [5, 11, 13]
