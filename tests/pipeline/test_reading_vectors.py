"""Reading vectors: planted directions found again, probabilities of being right, and one file for two uses."""

import pytest
import torch
from families import WIDTH, tiny

from legible.documents import Document
from legible.errors import UsageError
from legible.evaluate.sample import Sample
from legible.instruments import INSTRUMENTS, Setting
from legible.instruments.reading_vectors import ReadingVectors, difference_of_means, principal_difference
from legible.languages import get
from legible.languages.base import Fact, Row
from legible.steer.contrasts import contrast, load_contrasts
from legible.train.instruments import train_instrument
from legible.train.instruments.reading_vectors import FEWEST, logistic
from legible.vectors import unit

MOODS = ("sad", "proud", "shy")


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("way", [difference_of_means, principal_difference])
def test_a_planted_direction_is_found_again(rng, way):
    planted = unit(torch.randn(WIDTH, generator=rng))
    shared = 5 * torch.randn(WIDTH, generator=rng)
    holds, others = (shared + side * 1.5 * planted + torch.randn(400, WIDTH, generator=rng) for side in (1, -1))
    assert float(way(holds, others) @ planted) > 0.95
    assert torch.allclose(way(others, holds), -way(holds, others), atol=1e-5)
    assert float(way(holds, others).norm()) == pytest.approx(1.0, abs=1e-5)


def test_a_principal_difference_is_the_direction_of_largest_mean_square(rng):
    apart = torch.randn(60, 6, generator=rng) * torch.tensor([1.0, 1, 4, 1, 1, 1]) + 0.1
    first = principal_difference(apart, torch.zeros(60, 6))
    largest = torch.linalg.eigh(apart.T @ apart)
    assert abs(float(first @ largest.eigenvectors[:, -1])) == pytest.approx(1.0, abs=1e-4)
    assert float((apart @ first).sum()) > 0


def test_the_regression_of_one_number_gives_as_many_as_there_are(rng):
    x = torch.randn(3000, generator=rng) * 7 + 3
    true = torch.rand(3000, generator=rng) < (0.4 * x - 1).sigmoid()
    slope, bias, loss = logistic(x, true)
    assert (slope, bias) == (pytest.approx(0.4, rel=0.1), pytest.approx(-1, rel=0.15))
    assert float((slope * x + bias).sigmoid().mean()) == pytest.approx(float(true.float().mean()), abs=1e-3)
    share = float(true.float().mean())
    assert 0 < loss < -share * torch.tensor(share).log() - (1 - share) * torch.tensor(1 - share).log()
    assert logistic(-x, true)[0] == pytest.approx(-slope, rel=1e-3)


@pytest.fixture
def planted(rng) -> tuple[Sample, torch.Tensor]:
    """Rows of 40 documents: of each mood a direction, a fourth of the rows in none; weather is always the same."""
    directions = unit(torch.randn(3, WIDTH, generator=rng))
    rows, facts, moods = [], [], torch.randint(4, (800,), generator=rng).tolist()
    for place, mood in enumerate(moods):
        rows.append(Row(Document(f"d{place // 20}", "text"), 3, 4, 0, place % 7, 0))
        known = Fact("mood", "open", ()) if mood == 3 else Fact("mood", "stated", (MOODS[mood],))
        facts.append({"mood": known, "weather": Fact("weather", "stated", ("snow",))})
    plants = torch.cat([directions, torch.zeros(1, WIDTH)])
    vectors = 4 * plants[moods] + 2 + 0.4 * torch.randn(800, WIDTH, generator=rng)
    return Sample(vectors, rows, facts), directions


def test_values_are_read_and_the_probability_is_of_being_right(planted, tmp_path):
    sample, directions = planted
    setting = Setting(tiny("llama"), 1, get("world"), others=sample)
    train_instrument("reading-vectors", setting, tmp_path / "v")
    made = INSTRUMENTS["reading-vectors"].make(Setting(setting.target, 1, weights=tmp_path / "v"))
    assert [one.name for one in made.vectors] == ["mood=proud", "mood=sad", "mood=shy"]  # weather has no contrast
    assert (made.needs.labels, made.needs.texts) == (800, 40)
    said = made.read(sample.vectors)
    scores = torch.tensor([one.claims[0].score for one in said])
    right = torch.tensor(
        [one.claims[0].claim.value in row["mood"].values for one, row in zip(said, sample.facts, strict=True)]
    )
    assert all(len(one.claims) == 1 and one.words is None for one in said)
    known = torch.tensor([row["mood"].status != "open" for row in sample.facts])
    assert float(right[known].float().mean()) > 0.95
    assert float(scores[right].mean()) > 0.8 > 0.4 > float(scores[~right].mean())
    assert [one.text is None for one in said] == (scores < 0.5).tolist()
    for place, value in enumerate(MOODS):
        seen = unit(sample.vectors)
        held = torch.tensor([value in row["mood"].values for row in sample.facts])
        other = torch.tensor([row["mood"].status != "open" for row in sample.facts]) & ~held
        wanted = difference_of_means(seen[held], seen[other])
        found = made.directions[[one.value for one in made.vectors].index(value)]
        assert float(found @ wanted) > 0.95, value
        assert float(found @ unit(directions[place] - directions.mean(0))) > 0.85


def test_the_same_file_gives_directions_to_steer_with(planted, tmp_path):
    target = tiny("llama")
    train_instrument("reading-vectors", Setting(target, 1, get("world"), others=planted[0]), tmp_path / "v")
    made = ReadingVectors.load(tmp_path / "v", target, 1)
    given = load_contrasts(tmp_path / "v", target.d_model)
    assert torch.allclose(torch.stack([given[one.name] for one in made.vectors]), made.directions, atol=1e-6)
    apart = contrast(given, "mood", "sad", "shy")
    assert torch.allclose(apart, unit(given["mood=shy"] - given["mood=sad"]), atol=1e-6)
    assert torch.allclose(contrast(given, "mood", "brave", "shy"), given["mood=shy"], atol=1e-6)
    assert contrast(given, "mood", "sad", "brave") is None


def test_what_cannot_be_trained_or_read_is_refused(planted, tmp_path):
    sample, target = planted[0], tiny("llama")
    with pytest.raises(UsageError, match="needs rows whose facts a language knows"):
        train_instrument("reading-vectors", Setting(target, 1, others=sample), tmp_path / "v")
    few = Sample(sample.vectors[:40], sample.rows[:40], [{"mood": Fact("mood", "stated", ("sad",))}] * 40)
    with pytest.raises(UsageError, match=f"no value is held by {FEWEST} rows"):
        train_instrument("reading-vectors", Setting(target, 1, get("world"), others=few), tmp_path / "v")
    train_instrument("reading-vectors", Setting(target, 1, get("world"), others=sample), tmp_path / "v")
    with pytest.raises(UsageError, match="is of layer 1 and width 32, expected layer 0"):
        ReadingVectors.load(tmp_path / "v", target, 0)
    with pytest.raises(UsageError, match="is of the language 'world', expected 'text'"):
        ReadingVectors.load(tmp_path / "v", target, 1, get("text"))
    with pytest.raises(UsageError, match="needs a trained file"):
        INSTRUMENTS["reading-vectors"].make(Setting(target, 1))
