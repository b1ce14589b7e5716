"""The page in a real browser: links, tokens, saved sessions; and that hostile words are inert in all of them."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the page's tests need the `dev` extra: playwright")
from answers import evaluation, loaded, read_frames, steered, token
from browsing import (
    HOSTILE,
    SHOWN,
    TEXT,
    TOKEN,
    Visitor,
    answering,
    list_all,
    options,
    picture,
    selected,
    show,
    streaming,
    wait_for,
)
from playwright.sync_api import expect


def test_a_link_reopens_text_positions_and_selection_in_another_tab(visitor: Visitor) -> None:
    page = visitor.open()
    page.locator("#text").fill(TEXT)
    options(page)
    page.get_by_role("button", name="Show the tokens").click()
    wait_for(page, "14 tokens")
    page.locator("#token-8").click()
    page.locator("#token-9").click(modifiers=["Shift"])
    page.locator("#token-13").click(modifiers=["Control"])
    page.locator("#positions").select_option("selected")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "3 of 14 tokens read")
    show(page, "share")
    link = page.get_by_label("Link").input_value()
    assert TOKEN not in link
    assert link.startswith(visitor.base + "/#view=read&source=builtin&text=Our+hero")
    other = visitor.context.new_page()  # has no token of its own: the first tab gives it
    other.goto(link)
    wait_for(other, "3 of 14 tokens read")
    expect(other.locator("#text")).to_have_value(TEXT)
    expect(other.locator("#cards .card")).to_have_count(3)
    assert selected(other) == [8, 9, 13]
    for pos in (8, 9, 13):
        expect(other.locator(f"#r{pos} .words")).to_have_text(page.locator(f"#r{pos} .words").text_content() or "")


def test_a_link_holds_the_sampling_of_the_readings_whatever_the_form_says_by_now(visitor: Visitor) -> None:
    page = visitor.open()
    page.locator("#text").fill("Pavel slept.")
    options(page)
    page.get_by_label("Samples").fill("2")
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "4 of 4 tokens read")
    list_all(page)
    page.get_by_text("Read another text").click()
    page.get_by_label("Samples").fill("5")
    page.get_by_label("Seed").fill("0")
    show(page, "share")
    other = visitor.context.new_page()
    other.goto(page.get_by_label("Link").input_value())
    wait_for(other, "4 of 4 tokens read")
    expect(other.locator("#cards .card")).to_have_count(4)
    expect(other.locator("#cards .samples li")).to_have_count(8)
    assert other.locator("#cards .words").all_text_contents() == page.locator("#cards .words").all_text_contents()


def test_a_tab_without_a_token_asks_for_it(visitor: Visitor) -> None:
    page = visitor.open("#view=evaluate&text=Pavel+slept.&read=all")
    page.get_by_label("Address or token").fill("wrong-token-0123456789")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("token")
    page.get_by_label("Address or token").fill(f"{visitor.base}/#token={TOKEN}")
    page.keyboard.press("Enter")
    wait_for(page, "tokens read by")
    expect(page.locator("#view-evaluate")).to_be_visible()
    page.reload()
    expect(page.locator("#source option")).to_have_count(2)  # the tab remembers it


def test_a_code_in_the_address_becomes_the_token(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    answering(page, "/api/v1/session", {"token": TOKEN})
    with page.expect_request("**/api/v1/session") as asked:
        page.goto(f"{visitor.base}/#code=abc")
    assert asked.value.post_data_json == {"code": "abc"}
    expect(page.locator("#source option")).to_have_count(2)
    assert page.url == f"{visitor.base}/"


def test_the_session_is_saved_as_html_json_and_markdown(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.reading()
    page.locator("#token-13").click()
    show(page, "share")
    for suffix in ("html", "json", "md"):
        with page.expect_download() as waiting:
            page.locator(f"#save-{suffix}").click()
        assert waiting.value.suggested_filename == f"legible-builtin-layer2.{suffix}"
        waiting.value.save_as(tmp_path / f"session.{suffix}")
    found = json.loads((tmp_path / "session.json").read_text())
    assert (found["text"], found["selected"], len(found["readings"])) == (TEXT, [13], 14)
    assert "### 13 \\." in (tmp_path / "session.md").read_text() or "### 13 ." in (tmp_path / "session.md").read_text()
    assert TOKEN not in "".join((tmp_path / f"session.{suffix}").read_text() for suffix in ("html", "json", "md"))
    saved = visitor.context.new_page()
    saved.goto((tmp_path / "session.html").as_uri())
    expect(saved.locator(".card")).to_have_count(14)
    expect(saved.locator("script, link, img, [style], button")).to_have_count(0)
    expect(saved.locator("#r13 .words")).to_contain_text("hammer")
    assert (
        saved.locator(".t8, .t9").first.evaluate("(one) => getComputedStyle(one).backgroundColor") != "rgba(0, 0, 0, 0)"
    )
    picture(saved, tmp_path, "saved")


def test_hostile_words_are_inert_in_every_view_and_file(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.context.new_page()
    source = loaded(HOSTILE)
    more = {
        "flags": [HOSTILE],
        "p_true_reason": HOSTILE,
        "samples": [{"explanation": HOSTILE, "direction_mse": 0.1}] * 2,
    }
    answering(page, "/api/v1/sources", {"sources": [source]})
    streaming(page, "/api/v1/read", read_frames([HOSTILE, "b"], **more))
    answering(page, "/api/v1/tokenize", {"text": HOSTILE, "tokens": [token(0, HOSTILE)], "prompt_length": 1})
    answering(page, "/api/v1/steer", steered(HOSTILE))
    answering(page, "/api/v1/evaluation/*", {**evaluation(HOSTILE), "source": HOSTILE})
    page.goto(f"{visitor.base}/#token={TOKEN}")
    page.locator("#text").fill(HOSTILE)
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "2 of 2 tokens read")
    list_all(page)
    for place in ("#strip", "#r0 .words", "#r0 .claims", "#r0 .flag", "#r0 .why", "#r0 .samples"):
        expect(page.locator(place)).to_contain_text(SHOWN)
    page.get_by_role("searchbox").fill("<img")
    expect(page.locator("#r0 mark").first).to_have_text("<img")
    page.get_by_role("searchbox").fill("")
    show(page, "matrix")
    expect(page.locator(".matrix")).to_contain_text(SHOWN)
    show(page, "compare")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".compared")).to_contain_text(SHOWN)
    show(page, "steer")
    page.locator("#steer-pos").fill("0")
    page.keyboard.press("Tab")
    page.get_by_label("Change the words").fill("other words")
    page.locator("#steer-form button[type=submit]").click()
    expect(page.locator("table.steered")).to_contain_text(SHOWN)
    show(page, "evaluate")
    expect(page.locator("#evaluation table").first).to_contain_text(SHOWN)
    unsafe = page.locator("img, body script, a[href^='javascript'], iframe, object, [onerror]")
    expect(unsafe).to_have_count(0)
    assert not re.search("[\x1b\x07\u202e\u2066\u200b]", page.locator("main").inner_text())
    show(page, "share")
    for suffix in ("html", "md"):
        with page.expect_download() as waiting:
            page.locator(f"#save-{suffix}").click()
        waiting.value.save_as(tmp_path / f"session.{suffix}")
        text = (tmp_path / f"session.{suffix}").read_text()
        assert not re.search("[\x1b\x07\u202e\u2066\u200b]", text)
        text = re.sub(r"(?s)```text\n.*?\n```\n", "", text)  # inside a fence nothing is formatted
        assert not re.search(r"(?<!\\)<(img|script|a href='java)", text)
    saved = visitor.context.new_page()
    saved.goto((tmp_path / "session.html").as_uri())
    expect(saved.locator("#r0 .words")).to_contain_text(SHOWN)
    expect(saved.locator("img, script, iframe, a[href^='javascript']")).to_have_count(0)
