"""The page's first minute: what it says it is, examples at one click, what is in view, what a reload keeps, phones."""

from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the page's tests need the `dev` extra: playwright")
from answers import evaluation, steered
from browsing import TEXT, TOKEN, Visitor, answering, compose, picture, selected, show, wait_for
from playwright.sync_api import Browser, expect

STEAL = "A theft, to be steered"


def test_the_first_screen_says_what_this_is_and_reads_an_example_at_one_click(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open()
    expect(page.locator("#intro p").first).to_contain_text(
        "in words, what a language model has in mind at any word of a text"
    )
    expect(page.locator("#examples button")).to_have_count(3)
    expect(page.locator("#intro")).to_be_in_viewport(ratio=1)
    picture(page, tmp_path, "first")
    page.get_by_role("button", name="What the text only implies").click()
    wait_for(page, "tokens read by")
    expect(page.locator("#intro")).to_be_hidden()
    first = page.locator("#cards .card").first
    expect(first).to_be_in_viewport(ratio=1)
    expect(page.locator("#place")).to_contain_text("The richest of")
    expect(first.locator(".words")).to_contain_text("helmet")
    expect(page.locator("#cards .card")).to_have_count(1)
    expect(first.locator(".claims")).not_to_be_visible()
    picture(page, tmp_path, "example")


def test_the_richest_reading_is_in_view_only_where_nothing_is_chosen(visitor: Visitor) -> None:
    page = visitor.reading()
    expect(page.locator("#place")).to_contain_text("The richest of 14 readings")
    expect(page.locator("#strip .shown")).to_have_attribute("data-pos", "9")  # behind it the pair warns
    page.get_by_role("button", name="Previous reading").click()
    assert selected(page) == [8]
    for pos in range(9, 14):
        page.get_by_role("button", name="Next reading").click()
        assert selected(page) == [pos]
    expect(page.get_by_role("button", name="Next reading")).to_be_disabled()
    page.locator("#token-4").click()
    page.locator("#token-7").click(modifiers=["Shift"])
    expect(page.locator("#cards .card").first).to_have_attribute("data-pos", "4")
    expect(page.locator("#walk")).to_be_hidden()


def test_a_reload_keeps_what_was_read_and_what_was_typed(visitor: Visitor) -> None:
    page = visitor.reading()
    page.locator("#token-7").click()
    page.reload()
    wait_for(page, "14 of 14 tokens read")
    expect(page.locator("#text")).to_have_value(TEXT)
    assert selected(page) == [7]
    compose(page, "Another text")
    page.reload()
    expect(page.locator("#text")).to_have_value("Another text")
    expect(page.locator("#strip-box")).to_be_hidden()
    assert TOKEN not in page.evaluate("() => sessionStorage.getItem('legible.session')")


def test_steering_by_default_shows_the_edit_and_says_so(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open()
    page.get_by_role("button", name=STEAL).click()
    wait_for(page, "tokens read by")
    show(page, "steer")
    words = page.get_by_label("Change the words")
    words.fill(words.input_value().replace("steal", "beg"))
    page.locator("#steer-form button[type=submit]").click()
    wait_for(page, "Steered at")
    expect(page.locator(".effect")).to_contain_text("the continuation says “beg”; untouched it does not")
    expect(page.locator(".outcome .card").nth(1)).to_contain_text("beg")
    expect(page.locator(".outcome .card").nth(0)).not_to_contain_text("beg")
    expect(page.locator("table.steered")).not_to_be_visible()
    expect(page.locator("tr.proposed td[data-label=steered]")).to_contain_text("beg")
    expect(page.locator("tr.untouched")).not_to_contain_text("beg")
    picture(page, tmp_path, "steal-to-beg")
    page.reload()
    expect(page.locator("#steer-before")).to_contain_text("steal")


def test_steering_says_when_nothing_changed_or_the_edit_is_not_said(visitor: Visitor) -> None:
    page = visitor.reading()
    page.locator("#token-13").click()
    show(page, "steer")
    words = page.get_by_label("Change the words")
    words.fill(words.input_value().replace("hammer", "rope"))
    same = steered("and slept.")
    for one in same["steered"]:
        one["continuations"] = same["untouched"]["continuations"]
    answering(page, "/api/v1/steer", same)
    page.locator("#steer-form button[type=submit]").click()
    expect(page.locator(".effect")).to_contain_text("Nothing changed: at every strength tried")
    expect(page.locator(".outcome .card")).to_have_count(1)
    other = steered("and slept.") | {"explanation": "holds a hammer", "edited": "holds a rope"}
    for one in other["steered"]:
        one["continuations"] = [{"text": "and woke.", "cut": False, "nats": 1.0}]
    answering(page, "/api/v1/steer", other)
    page.locator("#steer-form button[type=submit]").click()
    expect(page.locator(".effect")).to_contain_text("does not say “rope” within its length")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_a_tap_on_a_token_shows_its_reading(
    browser: Browser, base: str, tmp_path: Path, scheme: str
) -> None:
    visitor = Visitor(browser, base, color_scheme=scheme, viewport={"width": 360, "height": 640}, has_touch=True)
    page = visitor.open()
    expect(page.locator("#examples button").last).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name=STEAL).tap()
    wait_for(page, "tokens read by")
    expect(page.locator("#cards .card").first.locator(".words")).to_be_in_viewport(ratio=1)
    for pos in (23, 35, 8):
        page.locator(f"#token-{pos}").tap()
        assert selected(page) == [pos]
        expect(page.locator("#cards .card")).to_have_count(1)
        expect(page.locator(f"#r{pos} .words")).to_be_in_viewport(ratio=1)
        expect(page.locator(f"#token-{pos}")).to_be_in_viewport(ratio=0.9)
        picture(page, tmp_path, f"tapped-{pos}")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    visitor.close()


def test_on_a_phone_a_swipe_goes_to_the_next_reading(browser: Browser, base: str) -> None:
    visitor = Visitor(browser, base, viewport={"width": 360, "height": 640}, has_touch=True)
    page = visitor.open()
    page.get_by_role("button", name=STEAL).tap()
    wait_for(page, "tokens read by")
    touch = visitor.context.new_cdp_session(page)

    def swipe(across: int, down: int) -> None:
        box = page.locator("#cards .words").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for kind, share in (("touchStart", 0.0), ("touchMove", 0.5), ("touchMove", 1.0), ("touchEnd", None)):
            points = [] if share is None else [{"x": x + share * across, "y": y + share * down}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    swipe(120, 5)
    expect(page.locator("#cards .card")).to_have_attribute("data-pos", "34")
    swipe(-120, 5)
    expect(page.locator("#cards .card")).to_have_attribute("data-pos", "35")
    swipe(20, -120)  # a scroll
    assert selected(page) == [35]
    visitor.close()


def test_a_figure_of_few_cases_is_no_headline(visitor: Visitor) -> None:
    page = visitor.open()
    found = evaluation()
    few = {"value": 1.0, "low": 0.398, "high": 1.0, "n": 4, "documents": 2}
    found["evaluation"]["claims"] = found["evaluation"]["claims"] | {"foresight": few}
    answering(page, "/api/v1/evaluation/builtin", found)
    show(page, "evaluate")
    expect(page.locator("#evaluation .few")).to_contain_text("foresight 1.00 [0.40, 1.00], n 4: too few to go by")
    expect(page.locator("#evaluation .big").first).not_to_contain_text("foresight")
