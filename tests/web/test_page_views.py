"""The page in a real browser: readings side by side, steering, the evaluation, errors; and that every view fits."""

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the page's tests need the `dev` extra: playwright")
from answers import evaluation, read_frames, steered
from axe_playwright_python.sync_playwright import Axe
from browsing import (
    HOSTILE,
    SHOWN,
    TEXT,
    TOKEN,
    VIEWS,
    Visitor,
    answering,
    list_all,
    picture,
    selected,
    show,
    streaming,
    wait_for,
)
from playwright.sync_api import Browser, expect


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
    assert cells[:2] == cells[2:]  # the same weights twice
    assert "hammer" in cells[1]
    coloured = page.locator(".matrix tbody td").evaluate_all("(all) => all.map((one) => / t\\d/.test(one.className))")
    assert coloured == [True, False] * 4  # the scores, not the rows
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
    page.locator("#token-13").click()
    page.get_by_role("button", name="Steer at token 13").click()
    page.locator("#steer-form .settings summary").click()
    expect(page.locator("#tab-steer")).to_have_attribute("aria-selected", "true")
    box = page.get_by_label("Change the words")
    page.locator("#steer-form button[type=submit]").click()
    expect(page.get_by_role("alert")).to_contain_text("Change some words first")
    box.fill(box.input_value().replace("hammer", "rope"))
    expect(page.locator("#steer-form del")).to_have_text("hammer.")
    expect(page.locator("#steer-form ins")).to_have_text("rope.")
    page.get_by_label("Strengths").fill("0.2, 0.4")
    page.get_by_label("New tokens").last.fill("8")
    page.locator("#steer-form button[type=submit]").click()
    wait_for(page, "Steered at 2 strengths")
    page.get_by_text("All 2 strengths, with controls").click()
    expect(page.locator("table.steered tbody tr")).to_have_count(3)
    expect(page.locator("table.steered tr.proposed")).to_have_count(1)
    heads = page.locator("table.steered thead th").all_text_contents()
    assert heads[:4] == ["strength", "steered", "nats per token (cost)", "then reads"]
    assert "control: random" in heads
    expect(page.get_by_role("img", name=re.compile("^Loss of fluency"))).to_be_visible()
    picture(page, tmp_path, "steer")


def test_the_servers_errors_are_shown_as_plain_text(visitor: Visitor) -> None:
    page = visitor.reading("Pavel slept.")
    page.locator("#token-2").click()
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
    rows = page.get_by_role("region", name=re.compile("^Controls:")).locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.last).to_contain_text("0.50 [0.45, 0.55]")
    counts = page.locator("figure details")
    counts.locator("summary").click()
    expect(counts.locator("tbody tr")).to_have_count(10)
    expect(counts.locator("tbody tr").first).to_contain_text("30")
    ends = page.locator("figure svg[role=img]").evaluate_all(
        "(all) => all.map((one) => one.querySelector('text').textContent)"
    )
    assert all(float(end) <= 1 for end in ends)
    picture(page, tmp_path, "evaluate")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 360)])
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
            page.locator(".strengths summary").click()
            expect(page.locator("table.steered")).to_be_visible()
        elif view == "evaluate":
            page.locator("figure summary").click()
            expect(page.locator("#evaluation table").first).to_be_visible()
        elif view == "read":
            list_all(page)
            for fold in page.locator("#cards details summary").all():
                fold.click()
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
