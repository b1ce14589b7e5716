"""What an index shows of the package: a description whose links work there."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
description = runpy.run_path(str(ROOT / "setup.py"))["description"]
lowest = runpy.run_path(str(ROOT / "scripts" / "lowest.py"))["lowest"]


@pytest.mark.parametrize(
    ("link", "without", "with_source"),
    [
        (
            "[Results](docs/results.md)",
            "Results, in docs/results.md",
            "[Results](https://host/x/blob/main/docs/results.md)",
        ),
        ("[LICENSE](LICENSE)", "LICENSE", "[LICENSE](https://host/x/blob/main/LICENSE)"),
        ("[how](docs/a.md#part)", "how, in docs/a.md", "[how](https://host/x/blob/main/docs/a.md#part)"),
        ("![page](docs/page.png)", "", "![page](https://host/x/raw/main/docs/page.png)"),
        ("[below](#read)", "below", "below"),
        ("[there](https://example.org/a)", "[there](https://example.org/a)", "[there](https://example.org/a)"),
    ],
)
def test_a_link_becomes_absolute_or_words(link, without, with_source):
    assert description(f"See {link}.", None) == f"See {without}."
    assert description(f"See {link}.", "https://host/x/") == f"See {with_source}."


def test_the_lowest_versions_are_the_floors_and_torch_is_left_as_it_is():
    assert lowest(["torch>=2.9", "numpy>=2,<3", "transformers>=5.18,<6", "types-PyYAML"]) == [
        "numpy==2", "transformers==5.18",
    ]  # fmt: skip
