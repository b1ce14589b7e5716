"""The page in a real browser: doubt is drawn as the package decides it, and a score stands on its floor."""

import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the page's tests need the `dev` extra: playwright")
from answers import loaded, read_frames
from browsing import TOKEN, Visitor, answering, list_all, picture, show, streaming, wait_for
from playwright.sync_api import Page, expect

from legible.languages import get
from legible.reading.doubt import DOUBTFUL, above_floor, doubtful_claims, little_to_say, not_understood
from legible.reading.marks import pieces, withheld

OUTSIDE = "The central bank raised interest rates by fifty basis points."
SAID = "Hero Pavel is a fox, is at the hammer, feels sad. The hero wants the cheese. Inside a sentence."


def claimed(text: str, p_true: list[float | None], verdicts: list[str]) -> list[dict[str, Any]]:
    """The world's claims of a text with these probabilities and verdicts, as the API gives them."""
    language = get("world")
    assert language is not None
    found = language.parse(text).claims
    return [
        {"text": claim.text, "value": claim.value, "relation": claim.relation, "subject": claim.subject,
         "polarity": claim.polarity, "parsed": True, "p_true": p, "agreement": None, "leverage": None,
         "recurrence": None, "probe": None, **({} if verdict == "unknown" else {"verdict": verdict})}
        for claim, p, verdict in zip(found, p_true, verdicts, strict=True)
    ]  # fmt: skip


def read_of(visitor: Visitor, **reading: Any) -> Page:
    """A page that shows one made-up reading."""
    page = visitor.context.new_page()
    answering(page, "/api/v1/sources", {"sources": [loaded("builtin")]})
    streaming(page, "/api/v1/read", read_frames(["fox"], **reading))
    page.goto(f"{visitor.base}/#token={TOKEN}")
    page.locator("#text").fill("fox")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "1 of 1 tokens read")
    return page


def test_the_page_decides_doubt_as_the_package_does(visitor: Visitor) -> None:
    page = visitor.open()
    rng = random.Random(0)
    cases = []
    for _ in range(60):
        p_true = [rng.choice([None, 0.0, 0.3, 0.499, 0.5, 0.9]) for _ in range(6)]
        verdicts = [rng.choice(["true", "false", "open", "unknown"]) for _ in range(6)]
        cases.append([SAID, claimed(SAID, p_true, verdicts)])
    cases.append(["Next a, b, c.", [{"text": "Next b.", "value": "b", "p_true": 0.1}]])
    cases.append(
        [
            "He sits there.",
            [{"text": "He sits there", "value": v, "p_true": p} for v, p in (("there", 0.9), ("x", 0.1))],
        ]
    )
    cases.append(["It may rain. It may not.", [{"text": "It may not.", "value": None, "p_true": 0.1}]])
    decided = page.evaluate(
        "async (cases) => { const doubt = await import('/doubt.js'); return cases.map(([text, claims]) =>"
        " [doubt.pieces(text, claims).map((one) => [one.text, one.verdict, one.pTrue]), doubt.plain(text, claims)]); }",
        cases,
    )
    for (text, claims), (theirs, plain) in zip(cases, decided, strict=True):
        ours = pieces(text, [(c["text"], c["value"], c.get("verdict", "unknown"), c["p_true"]) for c in claims])
        assert theirs == [list(piece) for piece in ours]
        assert plain == "".join(piece.text for piece in withheld(ours))
    scores = [[a / 10, b] for a in range(-10, 11) for b in (None, -0.5, 0.0, 0.4, 0.404, 0.9, 1.0)]
    flags = ["ood", "norm_outlier", "early_position"]
    found = page.evaluate(
        "async ([scores, flags]) => { const doubt = await import('/doubt.js'); return [doubt.DOUBTFUL,"
        " [0, 1, 2].map(doubt.doubtfulClaims),"
        " [[], ['a\\u202e b', 'c']].map(doubt.notUnderstood),"
        " scores.map(([fve, floor]) => [doubt.aboveFloor(fve, floor),"
        " doubt.littleToSay({ flags, fve_token: fve, floor_fve: floor })])]; }",
        [scores, flags],
    )
    assert found[:2] == [DOUBTFUL, [doubtful_claims(n) for n in range(3)]]
    assert found[2] == [not_understood(clauses) for clauses in ((), ("a\u202e b", "c"))]
    for (fve, floor), (share, words) in zip(scores, found[3], strict=True):
        assert share == pytest.approx(above_floor(fve, floor))
        assert words == little_to_say(flags, fve, floor)


def test_claims_stand_in_the_words_and_a_doubtful_one_is_dimmed_and_struck(visitor: Visitor, tmp_path: Path) -> None:
    claims = claimed(SAID, [0.97, 0.9, 0.03, 0.8, 0.6, 0.99], ["unknown"] * 6)
    page = read_of(visitor, explanation=SAID, claims=claims, trust={"mean": 0.715, "min": 0.03}, floor_fve=0.3)
    words = page.locator("#r0 .words")
    expect(words).to_have_count(2)
    expect(words.first).to_have_text(SAID.replace("is at the hammer", "…"))
    expect(words.last).not_to_be_visible()
    page.get_by_text("1 doubtful claim", exact=True).click()
    words = words.last
    expect(words).to_have_text(SAID)
    expect(words.locator("s")).to_have_text("is at the hammer")
    assert [one.inner_text() for one in words.locator("span.claim").all()] == [
        "Pavel", "fox", "sad", "cheese", "Inside a sentence",
    ]  # fmt: skip
    look = words.locator("s").evaluate(
        "(one) => [getComputedStyle(one).textDecorationLine, getComputedStyle(one).color]"
    )
    assert look[0] == "line-through"
    assert look[1] != words.evaluate("(one) => getComputedStyle(one).color")
    expect(page.locator("#r0 .scores")).not_to_be_visible()
    expect(page.locator("#r0 .claims")).not_to_be_visible()
    page.get_by_text("6 claims and the scores").click()
    expect(page.locator("#r0 .scores dt")).to_have_text(["FVE 0.90", "trust 0.71"])
    expect(page.locator("#r0 .scores dd").first).to_contain_text("would score 0.30 here")
    expect(page.locator("#r0 .scores dd").last).to_contain_text("the lowest is 0.03")
    expect(page.locator("#r0 .claims")).to_contain_text("place in the sentence: inside")
    assert (
        page.locator("#r0 .columns dt").all_inner_texts() == page.locator("#r0 .claims thead th").all_inner_texts()[1:]
    )
    expect(page.locator("#r0 .claims tr.doubtful s")).to_have_text("is at the hammer")
    picture(page, tmp_path, "doubt")
    show(page, "matrix")
    expect(page.locator(".matrix td").nth(1)).to_contain_text("Hero Pavel is a fox, …, feels sad.")
    expect(page.locator(".matrix td").nth(1)).to_contain_text("1 doubtful claim")
    show(page, "compare")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".compared tbody td").nth(1)).to_contain_text("Hero Pavel is a fox, …, feels sad.")
    show(page, "share")
    with page.expect_download() as waiting:
        page.locator("#save-md").click()
    waiting.value.save_as(tmp_path / "session.md")
    text = (tmp_path / "session.md").read_text()
    assert "hammer" not in text
    assert "1 doubtful claim" in text


def test_what_is_said_of_any_text_is_drawn_as_nothing(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.reading(OUTSIDE)
    list_all(page)
    inside = page.locator(".card", has_text="Inside a sentence.")
    assert inside.count() > 10
    for card in inside.all():
        expect(card.locator(".little")).to_contain_text("no better than saying nothing")
        expect(card.locator(".meter.fve .fill")).to_have_count(0)
        assert "t0" in str(page.locator(f"#token-{card.get_attribute('data-pos')}").get_attribute("class")).split()
    picture(page, tmp_path, "outside")
