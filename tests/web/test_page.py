"""The page in a real browser, against a real server: every view by keyboard and mouse, and what must never happen.

After each test: nothing was asked of another host, no address held the token, no error stood on the console.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the page's tests need the `dev` extra: playwright")
from answers import evaluation, loaded, read_frames, steered, token
from axe_playwright_python.sync_playwright import Axe
from browsing import (
    HOSTILE,
    SHOWN,
    TEXT,
    TOKEN,
    VIEWS,
    Visitor,
    answering,
    find_browser,
    serving,
    show,
    streaming,
    wait_for,
)
from playwright.sync_api import Browser, Page, expect, sync_playwright

BROWSER = find_browser()
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with serving("builtin", "builtin") as address:
        yield address


@pytest.fixture
def visitor(browser: Browser, base: str) -> Iterator[Visitor]:
    found = Visitor(browser, base)
    yield found
    found.close()


def selected(page: Page) -> list[int]:
    return [int(str(one.get_attribute("data-pos"))) for one in page.locator('#strip [aria-selected="true"]').all()]


def picture(page: Page, folder: Path, name: str) -> None:
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def test_a_text_is_read_and_its_tokens_are_selected_by_mouse_and_keyboard(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.reading()
    assert TOKEN not in page.url
    expect(page.locator("#strip [role=option]")).to_have_count(14)
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
    page.get_by_text("Sampling", exact=True).click()
    page.get_by_label("Samples").fill("3")
    page.get_by_label("Temperature").first.fill("1")
    page.locator("#positions").select_option("-1")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "1 of 14 tokens read")
    page.locator(".samples summary").click()
    expect(page.locator(".samples li")).to_have_count(3)
    expect(page.locator(".claims thead")).to_contain_text("agree")
    page.locator("#positions").select_option("all")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "14 of 14 tokens read")
    page.get_by_role("searchbox").fill("hammer")
    expect(page.locator("#found")).to_have_text(re.compile(r"^\d+ claims? at [1-9]\d* tokens?$"))
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
    page.locator("#positions").select_option("selected")
    page.get_by_role("button", name="Read", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Select tokens first")
    page.get_by_role("button", name="Tokens only").click()
    wait_for(page, "14 tokens")
    page.locator("#token-8").click()
    page.locator("#token-13").click(modifiers=["Control"])
    expect(page.locator("#cards")).to_contain_text("not read yet")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "2 of 14 tokens read")
    expect(page.locator("#cards .claims")).to_have_count(2)


def test_the_target_continues_a_text_and_work_can_be_stopped(visitor: Visitor) -> None:
    page = visitor.open()
    page.locator("#text").fill(TEXT)
    page.locator("#new-tokens").evaluate("(box) => { box.value = 12; box.dispatchEvent(new Event('change')); }")
    page.get_by_role("button", name="Continue").click()
    wait_for(page, "The target has written")
    longer = page.locator("#text").input_value()
    assert longer.startswith(TEXT)
    assert len(longer) > len(TEXT) + 10
    page.locator("#samples").evaluate("(box) => { box.value = 16; box.dispatchEvent(new Event('change')); }")
    page.locator("#text").fill(" ".join([TEXT] * 12))
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
    page.goto(f"{visitor.base}/#token={TOKEN}")
    page.get_by_label("Chat", exact=True).check()
    page.get_by_label("Your message").fill("Hi")
    page.keyboard.press("Control+Enter")
    wait_for(page, "The target has written")
    expect(page.locator("#turns li")).to_have_text(["user Hi", "assistant Bye"])
    with page.expect_request("**/api/v1/read") as asked:
        page.get_by_role("button", name="Read the chat").click()
    wait_for(page, "3 of 3 tokens read")
    sent = asked.value.post_data_json
    assert sent["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Bye"}]
    assert sent["source"] == "chatty"


def test_matrix_and_comparison_put_readings_side_by_side(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.reading()
    page.locator("#token-8").click()
    page.locator("#token-13").click(modifiers=["Control"])
    show(page, "matrix")
    page.get_by_role("button", name="Read with every checkpoint").click()
    wait_for(page, "Every checkpoint has read the text.")
    expect(page.locator(".matrix thead th")).to_have_text(["token", "builtin · layer 2", "builtin-2 · layer 2"])
    expect(page.locator(".matrix tbody tr")).to_have_count(2)
    cells = page.locator(".matrix tbody tr").nth(1).locator("td").all_text_contents()
    assert cells[0] == cells[1]  # the same weights twice
    assert "hammer" in cells[0]
    picture(page, tmp_path, "matrix")
    page.locator(".matrix button").first.click()
    assert selected(page) == [8]
    show(page, "compare")
    expect(page.get_by_label("Right checkpoint")).to_have_value("builtin-2")
    page.get_by_label("Right text").fill(TEXT.replace("hammer", "lantern"))
    page.get_by_role("button", name="Compare", exact=True).click()
    wait_for(page, "14 and 14 tokens compared")
    expect(page.locator(".compared tbody tr")).to_have_count(14)
    expect(page.locator(".compared ins").last).to_contain_text("lantern")
    page.get_by_label("only tokens that read differently").check()
    expect(page.locator(".compared tbody tr")).to_have_count(2)
    picture(page, tmp_path, "compare")


def test_edited_words_steer_and_every_strength_stands_beside_its_controls(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.reading()
    page.get_by_role("button", name="Steer at token 13").click()
    expect(page.locator("#tab-steer")).to_have_attribute("aria-selected", "true")
    box = page.get_by_label("Change the words")
    expect(box).to_be_focused()
    page.locator("#steer-form button[type=submit]").click()
    expect(page.get_by_role("alert")).to_contain_text("Change some words first")
    box.fill(box.input_value().replace("hammer", "rope"))
    expect(page.locator("#steer-form del")).to_have_text("hammer.")
    expect(page.locator("#steer-form ins")).to_have_text("rope.")
    page.get_by_label("Strengths").fill("0.2, 0.4")
    page.get_by_label("New tokens").last.fill("8")
    page.locator("#steer-form button[type=submit]").click()
    wait_for(page, "Steered at 2 strengths")
    expect(page.locator("table.steered tbody tr")).to_have_count(3)
    expect(page.locator("table.steered tr.proposed")).to_have_count(1)
    heads = page.locator("table.steered thead th").all_text_contents()
    assert heads[:4] == ["strength", "steered", "nats a token (cost)", "then reads"]
    assert "control: random" in heads
    expect(page.get_by_role("img", name=re.compile("^Loss of fluency"))).to_be_visible()
    picture(page, tmp_path, "steer")


def test_the_servers_errors_are_shown_as_plain_text(visitor: Visitor) -> None:
    page = visitor.reading("Pavel slept.")
    page.get_by_role("button", name="Steer at token 2").click()
    page.get_by_label("Change the words").fill("Something else.")
    alert = page.get_by_role("alert")
    for status, headers in ((501, {}), (503, {}), (429, {"retry-after": "7"})):
        answering(page, "/api/v1/steer", {"error": f"{status} <b>no</b> {HOSTILE}"}, status, **headers)
        page.locator("#steer-form button[type=submit]").click()
        expect(alert).to_contain_text(f"{status} <b>no</b> <img src=x onerror=alert(1)>")
        expect(alert).to_contain_text(SHOWN)
        expect(alert.locator("*")).to_have_count(0)
    expect(alert).to_contain_text("Try again in 7 s.")


def test_the_evaluation_is_shown_or_the_command_that_makes_it(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open()
    answering(page, "/api/v1/evaluation/builtin", {"source": "builtin", "evaluation": None, "truth": None})
    answering(page, "/api/v1/evaluation/builtin-2", evaluation())
    show(page, "evaluate")
    expect(page.locator("#evaluation pre")).to_have_count(2)
    expect(page.locator("#evaluation pre").first).to_contain_text("legible evaluate CHECKPOINT")
    page.locator("#source").select_option("builtin-2")
    expect(page.get_by_role("img", name=re.compile("^Reliability"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Precision against coverage"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Reinforcement learning"))).to_be_visible()
    rows = page.get_by_role("region", name=re.compile("^Control table")).locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.last).to_contain_text("0.50 [0.45, 0.55]")
    picture(page, tmp_path, "evaluate")


def test_a_link_reopens_text_positions_and_selection_in_another_tab(visitor: Visitor) -> None:
    page = visitor.open()
    page.locator("#text").fill(TEXT)
    page.get_by_role("button", name="Tokens only").click()
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
    for place in ("#strip", "#r0 .words", "#r0 .claims", "#r0 .flag", "#r0 .why", "#r0 .samples"):
        expect(page.locator(place)).to_contain_text(SHOWN)
    page.get_by_role("searchbox").fill("<img")
    expect(page.locator("#r0 mark").first).to_have_text("<img")
    page.get_by_role("searchbox").fill("")
    show(page, "matrix")
    page.get_by_role("button", name="Read with every checkpoint").click()
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


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_every_view_fits_and_axe_finds_nothing_serious(
    browser: Browser, base: str, tmp_path: Path, scheme: str, width: int
) -> None:
    visitor = Visitor(browser, base, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    page = visitor.context.new_page()
    streaming(page, "/api/v1/read", read_frames(["<s>", " Pavel", " slept", "\nlong" * 3], flags=["ood"]))
    answering(page, "/api/v1/steer", steered("Pavel slept in the harbour and so did his friend."))
    answering(page, "/api/v1/evaluation/builtin", evaluation())
    page.goto(f"{base}/#token={TOKEN}")
    page.locator("#text").fill("Pavel slept")
    page.get_by_role("button", name="Read", exact=True).click()
    wait_for(page, "4 of 4 tokens read")
    page.locator("#token-1").click()
    for view in VIEWS:
        show(page, view)
        if view == "matrix":
            page.get_by_role("button", name="Read with every checkpoint").click()
        elif view == "compare":
            page.get_by_role("button", name="Compare", exact=True).click()
            expect(page.locator(".compared")).to_be_visible()
        elif view == "steer":
            page.get_by_label("Change the words").fill("other words")
            page.locator("#steer-form button[type=submit]").click()
            expect(page.locator("table.steered")).to_be_visible()
        elif view == "evaluate":
            expect(page.locator("#evaluation table").first).to_be_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, view
        picture(page, tmp_path, f"{view}-{scheme}-{width}")
        found = Axe().run(page).response["violations"]
        serious = [
            (one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], view
    visitor.close()


def test_the_theme_is_chosen_and_kept(visitor: Visitor) -> None:
    page = visitor.open()
    button = page.get_by_role("button", name="Theme")
    colours = []
    for name in ("system", "light", "dark"):
        expect(button).to_have_text(f"Theme: {name}")
        colours.append(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
        button.click()
    assert colours[0] == colours[1] != colours[2]
    button.click()
    page.reload()
    expect(button).to_have_text("Theme: light")
