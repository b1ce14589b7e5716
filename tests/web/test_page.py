"""The page in a real browser, against a real server: texts and chats read, selected and searched by keyboard and mouse.

After each test: nothing was asked of another host, no address held the token, no error stood on the console.
"""

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the page's tests need the `dev` extra: playwright")
from answers import loaded, read_frames
from browsing import (
    TEXT,
    TOKEN,
    VIEWS,
    Visitor,
    answering,
    compose,
    list_all,
    options,
    picture,
    selected,
    streaming,
    wait_for,
)
from playwright.sync_api import expect


def test_a_text_is_read_and_its_tokens_are_selected_by_mouse_and_keyboard(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.reading()
    assert TOKEN not in page.url
    expect(page.locator("#strip [role=option]")).to_have_count(14)
    expect(page.locator("#cards .card")).to_have_count(1)
    list_all(page)
    expect(page.locator("#cards .card")).to_have_count(14)
    expect(page.locator("#r13 .words")).to_contain_text("hammer")
    expect(page.locator("#r13 .claims tbody tr").first).to_contain_text("Pavel")
    expect(page.locator("#r0 .flag").first).to_have_text("special token")
    page.locator("#token-4").click()
    page.locator("#token-7").click(modifiers=["Shift"])
    assert selected(page) == [4, 5, 6, 7]
    expect(page.locator("#cards .card")).to_have_count(4)
    page.locator("#token-9").click(modifiers=["Control"])
    assert selected(page) == [4, 5, 6, 7, 9]
    page.locator("#token-2").hover()
    page.mouse.down()
    page.locator("#token-5").hover()
    page.mouse.up()
    assert selected(page) == [2, 3, 4, 5]
    page.keyboard.press("ArrowRight")
    assert selected(page) == [6]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert selected(page) == [6, 7, 8]
    page.keyboard.press("End")
    assert selected(page) == [13]
    page.keyboard.press("Space")
    assert selected(page) == []
    page.keyboard.press("Control+a")
    assert len(selected(page)) == 14
    page.keyboard.press("Escape")
    assert selected(page) == []
    page.get_by_label("trust", exact=True).check()
    expect(page.locator("#token-13")).to_have_class(re.compile(r"\btrust\b"))
    picture(page, tmp_path, "read")


def test_a_reading_is_made_without_the_mouse(visitor: Visitor) -> None:
    page = visitor.open()
    page.locator("#text").focus()
    page.keyboard.type("Pavel slept.")
    page.keyboard.press("Control+Enter")
    wait_for(page, "tokens read by")
    page.locator("#tab-read").focus()
    for view in (*VIEWS[1:], VIEWS[0]):
        page.keyboard.press("ArrowRight")
        expect(page.locator(f"#tab-{view}")).to_be_focused()
        expect(page.locator(f"#view-{view}")).to_be_visible()


def test_samples_search_and_trust_narrow_the_claims(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open()
    page.locator("#text").fill(TEXT)
    options(page)
    page.get_by_label("Samples").fill("3")
    page.get_by_label("Temperature").first.fill("1")
    page.locator("#positions").select_option("-1")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "1 of 14 tokens read")
    page.locator(".samples summary").click()
    expect(page.locator(".samples li")).to_have_count(3)
    expect(page.locator(".claims thead")).to_contain_text("agree")
    page.get_by_text("Read another text").click()
    page.locator("#positions").select_option("all")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "14 of 14 tokens read")
    list_all(page)
    page.get_by_role("searchbox").fill("hammer")
    expect(page.locator("#matches")).to_have_text(re.compile(r"^\d+ claims? at [1-9]\d* tokens?$"))
    expect(page.locator("#r2")).to_have_count(0)
    expect(page.locator("#r13 mark").first).to_have_text("hammer")
    expect(page.locator("#token-2")).to_have_class(re.compile(r"\bdim\b"))
    page.get_by_role("searchbox").fill("")
    page.locator("#kind").select_option("holds")
    expect(page.locator("#r2")).to_have_count(0)
    expect(page.locator("#r13 tr:not(.dim) .kind").first).to_have_text("holds: hammer")
    page.locator("#kind").select_option("")
    page.locator("#unflagged").check()
    expect(page.locator("#r0")).to_have_count(0)
    page.locator("#unflagged").uncheck()
    page.locator("#trust").focus()
    page.keyboard.press("End")
    expect(page.locator("#trust-value")).to_have_text("p_true ≥ 1.00")
    expect(page.locator("#r0")).to_contain_text("abstains: no claim has p_true ≥ 1.00")
    expect(page.locator("#r0")).to_contain_text("withheld by the trust threshold")
    picture(page, tmp_path, "trust")


def test_tokens_are_shown_first_and_only_the_selected_are_read(visitor: Visitor) -> None:
    page = visitor.open()
    page.locator("#text").fill(TEXT)
    options(page)
    page.locator("#positions").select_option("selected")
    page.get_by_role("button", name="Read", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Select tokens first")
    page.get_by_role("button", name="Show the tokens").click()
    wait_for(page, "14 tokens")
    page.locator("#token-8").click()
    page.locator("#token-13").click(modifiers=["Control"])
    expect(page.locator("#cards")).to_contain_text("Not read yet")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "2 of 14 tokens read")
    expect(page.locator("#cards .claims")).to_have_count(2)


def test_the_target_continues_a_text_and_work_can_be_stopped(visitor: Visitor) -> None:
    page = visitor.open()
    page.locator("#text").fill(TEXT)
    page.locator("#new-tokens").evaluate("(box) => { box.value = 12; box.dispatchEvent(new Event('change')); }")
    page.get_by_role("button", name="Let the model continue it").click()
    wait_for(page, "The model has written on")
    longer = page.locator("#text").input_value()
    assert longer.startswith(TEXT)
    assert len(longer) > len(TEXT) + 10
    page.locator("#samples").evaluate("(box) => { box.value = 16; box.dispatchEvent(new Event('change')); }")
    compose(page, " ".join([TEXT] * 12))
    page.get_by_role("button", name="Read", exact=True).click()
    page.get_by_role("button", name="Stop").click()
    wait_for(page, "Stopped. What was finished stays.")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_a_chat_is_sent_and_read_with_the_targets_own_template(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    source = loaded("chatty", chat=True)
    answering(page, "/api/v1/sources", {"sources": [source]})
    streaming(
        page,
        "/api/v1/complete",
        [
            {"type": "prompt", "prompt_length": 1, "text": "x", "tokens": []},
            {"type": "token", "pos": 1, "token": "By"},
            {"type": "token", "pos": 2, "token": "e"},
            {"type": "end", "completion": "Bye", "full_text": "x Bye", "completion_ids": [1]},
        ],
    )
    streaming(page, "/api/v1/read", read_frames(["<u>", "Hi", "Bye"]))
    answering(page, "/api/v1/tokenize", {"text": "x", "tokens": [], "prompt_length": 0})
    page.goto(f"{visitor.base}/#token={TOKEN}")
    page.get_by_label("Chat with the model").check()
    page.get_by_label("Your message").fill("Hi")
    page.keyboard.press("Control+Enter")
    wait_for(page, "The model has answered")
    expect(page.locator("#turns li")).to_have_text(["user Hi", "assistant Bye"])
    with page.expect_request("**/api/v1/read") as asked:
        page.get_by_role("button", name="Read the whole chat").click()
    wait_for(page, "3 of 3 tokens read")
    sent = asked.value.post_data_json
    assert sent["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Bye"}]
    assert sent["source"] == "chatty"
