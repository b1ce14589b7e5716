"""The page in a real browser, a chat with a model: it answers, a click reads a token, and claims stand by family."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the page's tests need the `dev` extra: playwright")
from answers import loaded, token
from answers import reading as frame_of
from browsing import HOSTILE, SHOWN, TOKEN, Visitor, answering, picture, streaming, wait_for
from playwright.sync_api import Page, Route, expect

from legible.languages import get
from legible.reading.families import LABELS, SILENT, are_grouped, by_family
from legible.reading.reading import ReadClaim, Reading

SAID = (
    'The topic is geography. It names "Paris" and "Rome" as places. The user is speaking. '
    'The model will say "The" and "capital". It is not about to refuse.'
)
P_TRUE = (0.91, 0.96, 0.2, 0.97, 0.9, 0.3, 0.99)
SOURCE = {**loaded("chatty", chat=True), "families": True, "calibrator": True}


def claims() -> list[ReadClaim]:
    return [ReadClaim(**vars(claim), p_true=p) for claim, p in zip(get("text").parse(SAID).claims, P_TRUE, strict=True)]


def chat_tokens(reply: str) -> list[dict[str, Any]]:
    words = ["<|user|>", "Hi", "<|end|>", "<|assistant|>", *reply.split(" "), "<|end|>"]
    found = [token(pos, word, 100 * pos) for pos, word in enumerate(words)]
    for one in found:
        one["template"] = one["token"].startswith("<|")
    return found


def chatting(visitor: Visitor, reply: str) -> tuple[Page, list[dict[str, Any]]]:
    """A page whose model answers so, and the reads that it asks for."""
    page, asked = visitor.context.new_page(), list[dict[str, Any]]()
    tokens = chat_tokens(reply)
    answering(page, "/api/v1/sources", {"sources": [SOURCE]})
    answering(page, "/api/v1/tokenize", {"text": "chat", "tokens": tokens, "prompt_length": len(tokens)})
    written = [{"type": "token", "pos": 4, "token": reply, "token_id": 4}, {"type": "end", "completion": reply}]
    streaming(page, "/api/v1/complete", written)

    def read(route: Route) -> None:
        body = route.request.post_data_json
        asked.append(body)
        start = {"type": "start", "source": "chatty", "layer": 2, "total": 1, "tokens": tokens, "text": "chat"}
        said = {"explanation": SAID, "claims": [one.as_dict() for one in claims()], "unparsed": [HOSTILE]}
        found = [{**frame_of(pos, "x", **said), "token": tokens[pos]["token"]} for pos in body["positions"]]
        frames = [start, *found, {"type": "end", "readings": len(found)}]
        text = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames) + "data: [DONE]\n\n"
        route.fulfill(status=200, content_type="text/event-stream", body=text)

    page.context.route("**/api/v1/read", read)
    page.goto(f"{visitor.base}/#token={TOKEN}")
    return page, asked


def test_a_reply_is_read_as_it_was_begun_and_any_other_token_at_a_click(visitor: Visitor, tmp_path: Path) -> None:
    page, asked = chatting(visitor, "The capital is Paris.")
    expect(page.locator("input[name=mode][value=chat]")).to_be_checked()
    page.locator("#text").fill("Hi")
    page.get_by_role("button", name="Send").click()
    wait_for(page, "tokens read by")
    assert [body["positions"] for body in asked] == [[3, 4, 5, 6, 7]]
    assert asked[0]["messages"] == [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The capital is Paris."},
    ]  # fmt: skip
    families = page.locator("#r3 .families")
    expect(families.locator("dt")).to_have_text(list(LABELS.values()))
    expect(families.locator("dd").nth(0)).to_have_text('The topic is geography. It names "Paris" and … as places.')
    expect(families.locator("dd").nth(2)).to_have_text(SILENT)
    page.locator("#r3 .doubts summary").click()
    assert page.locator("#r3 .doubts s").all_inner_texts() == ['"Rome"', '"capital"']
    expect(page.locator("#r3 .unparsed")).to_contain_text(SHOWN)
    picture(page, tmp_path, "chat")
    page.locator("#token-1").click()
    expect(page.locator("#r1 .families dt")).to_have_count(4)
    assert [body["positions"] for body in asked[1:]] == [[1]]
    page.locator("#token-6").click()
    page.locator("#token-1").click()
    expect(page.locator("#r1")).to_be_visible()
    assert len(asked) == 2  # what was read is not read again


def test_a_second_turn_leaves_the_first_ones_readings_alone(visitor: Visitor) -> None:
    page, asked = chatting(visitor, "Yes.")
    for words in ("Hi", "Again"):
        page.locator("#text").fill(words)
        page.get_by_role("button", name="Send").click()
        wait_for(page, "tokens read by")
        expect(page.locator("#turns li").last).to_have_text("assistant Yes.")
    assert [len(body["messages"]) for body in asked] == [2, 4]
    assert asked[0]["messages"] == asked[1]["messages"][:2]


def test_what_the_model_writes_is_shown_as_text(visitor: Visitor) -> None:
    page, _ = chatting(visitor, HOSTILE)
    page.locator("#text").fill("Hi")
    page.get_by_role("button", name="Send").click()
    wait_for(page, "tokens read by")
    expect(page.locator("#turns li").last).to_contain_text(SHOWN)
    assert page.locator("#turns img, #strip img, #cards img").count() == 0


def test_the_page_groups_claims_as_the_package_does(visitor: Visitor) -> None:
    page, every = visitor.open(), claims()
    reading = Reading(0, "a", 1, 2, 1.0, (), SAID, None, None, tuple(every))
    other = [claim for claim in every if claim.family != "ahead"]
    theirs = page.evaluate(
        "async ([all, some]) => { const f = await import('/families.js'); return [f.LABELS, f.SILENT,"
        " f.areGrouped([{ claims: all }]), f.areGrouped([{ claims: some }, { claims: [] }]),"
        " f.byFamily(all).map((one) => [one.label, one.claims.length, one.text])]; }",
        [[one.as_dict() for one in every], [one.as_dict() for one in other]],
    )
    assert theirs[:4] == [LABELS, SILENT, are_grouped([reading]), False]
    ours = by_family(reading)
    assert theirs[4] == [[one.label, len(one.claims), "".join(piece.text for piece in one.pieces)] for one in ours]


def test_a_message_is_offered_and_sent_at_one_click(visitor: Visitor) -> None:
    page, asked = chatting(visitor, "The capital is Paris.")
    offered = page.locator("#examples button")
    expect(offered).to_have_count(3)
    message = offered.first.inner_text()
    offered.first.click()
    wait_for(page, "tokens read by")
    assert asked[0]["messages"][0] == {"role": "user", "content": message}
    expect(page.locator("#intro")).to_be_hidden()
    expect(page.locator("#turns")).to_be_hidden()  # the strip shows the chat
    expect(page.locator("#cards .words").first).to_be_in_viewport(ratio=1)
