"""Choosing tokens: the right distribution, reproducible draws, nothing banned."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from legible.engines.decode import Policy, Written, decode
from legible.engines.sampling import choose, uniforms


class Script:
    """A stepper whose next token is fixed in advance for every row; it follows the moves of `drop`."""

    def __init__(self, texts: list[list[int]], vocab: int) -> None:
        self.texts, self.vocab, self.step_number = [list(text) for text in texts], vocab, 0

    def logits(self) -> torch.Tensor:
        out = torch.zeros(len(self.texts), self.vocab)
        for row, text in enumerate(self.texts):
            out[row, text[self.step_number]] = 9.0
        return out

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.tolist() == [text[self.step_number] for text in self.texts]
        self.step_number += 1
        return self.logits()

    def drop(self, holes: torch.Tensor, movers: torch.Tensor, n: int) -> None:
        for hole, mover in zip(holes.tolist(), movers.tolist(), strict=True):
            self.texts[hole] = self.texts[mover]
        self.texts = self.texts[:n]


@given(st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_rows_keep_their_own_text_while_others_are_dropped(lengths):
    texts = [
        [2 + (row + step) % 5 for step in range(length)] + [1] * (9 - length) for row, length in enumerate(lengths)
    ]
    script = Script(texts, vocab=7)
    written = decode(script, script.logits(), Policy(0.0, 8, stop_ids=(1,)), None)
    for row, length in zip(range(len(texts)), lengths, strict=True):
        assert written[row].ids == texts[row][:length]
        assert written[row].stop == ("stop" if length < 8 else "length")
        assert written[row].stop_id == (1 if length < 8 else None)
        assert len(written[row].logprobs) == min(length + 1, 8)


def test_no_step_is_taken_after_the_last_row_has_stopped():
    script = Script([[3, 1], [1, 1]], vocab=4)
    assert decode(script, script.logits(), Policy(0.0, 50, stop_ids=(1,)), None)[0].ids == [3]
    assert script.step_number == 1


def test_banned_tokens_are_left_out_of_the_distribution():
    script = Script([[2]], vocab=4)
    (row,) = decode(script, script.logits(), Policy(0.0, 1, stop_ids=(), banned_ids=(2, 0)), None)
    assert row == Written([1], [pytest.approx(-torch.tensor(2.0).log().item())], "length", None)


def test_draws_depend_on_seed_row_and_sample_alone():
    draws = uniforms([(3, 0, 0), (3, 0, 1), (3, 1, 0)], 6)
    assert torch.equal(uniforms([(3, 1, 0)], 6)[0], draws[2])
    assert torch.equal(uniforms([(3, 1, 0)], 4)[0], draws[2, :4])
    assert len({tuple(row.tolist()) for row in [*draws, *uniforms([(4, 0, 0)], 6)]}) == 4


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_softmax_at_the_temperature(temperature):
    logits = torch.tensor([2.0, -1.0, float("-inf"), 0.5, 0.0])
    n = 20_000
    u = torch.rand(n, generator=torch.Generator().manual_seed(0))
    tokens, logp = choose(logits.expand(n, -1), temperature, u)
    p = (logits / temperature).softmax(-1)
    share = torch.bincount(tokens, minlength=5) / n
    assert torch.all((share - p).abs() <= 4 * (p * (1 - p) / n).sqrt())
    assert torch.allclose(logp, p[tokens].log())


def test_greedy_takes_the_best_and_reports_its_probability():
    logits = torch.randn(6, 11, generator=torch.Generator().manual_seed(1))
    tokens, logp = choose(logits, 0.0, None)
    assert torch.equal(tokens, logits.argmax(-1))
    assert torch.allclose(logp, logits.log_softmax(-1).amax(-1))


@pytest.mark.parametrize("u", [0.0, 1.0 - 2**-24])
def test_the_ends_of_the_unit_interval_never_reach_an_impossible_token(u):
    logits = torch.full((1, 50_000), float("-inf"))
    logits[0, 100:40_000] = torch.randn(39_900, generator=torch.Generator().manual_seed(2)) * 3
    (token,), _ = choose(logits, 1.0, torch.tensor([u]))
    assert 100 <= token < 40_000
