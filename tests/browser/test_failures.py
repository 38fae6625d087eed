"""What the page says when something goes wrong, on a scripted service where a real one seldom fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open, Serve, ask
from tests.browser.services import RESULT, ScriptedService

pytestmark = pytest.mark.browser


def error(message: str, param: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": "server_error", "param": param, "code": None}}


@pytest.mark.parametrize(
    ("status", "message", "shown"),
    [
        (
            403,
            "the key may not read 'a'",
            "This is not allowed here. It says: the key may not read 'a'. Use a key that",
        ),
        (404, "no index 'a'", "no index 'a'. Choose an index above"),
        (413, "too long", "This is more than the service accepts. It says: too long. Send less."),
        (500, "the model failed", "The service failed (500). It says: the model failed. Try again; its log"),
        (503, "stopping", "The service failed (503). It says: stopping. It may be starting or stopping"),
    ],
)
def test_errors_say_what_to_do(
    scripted: ScriptedService, open_page: Open, status: int, message: str, shown: str
) -> None:
    scripted.result = status, error(message)
    page = open_page(scripted.url, expected=(str(status),))
    page.fill("#query", "anything")
    page.click("#go")
    expect(page.get_by_role("alert")).to_contain_text(shown)
    scripted.result = 200, RESULT
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".with .hit")
    expect(page.locator("#message")).to_be_empty()


def test_an_error_of_a_field_is_shown_there(scripted: ScriptedService, open_page: Open) -> None:
    scripted.result = 400, error("samples must be at most 8, got 9", "samples")
    page = open_page(scripted.url, expected=("400",))
    page.click("#options-button")
    page.fill("#samples", "9")
    page.fill("#query", "anything")
    page.click("#go")
    expect(page.locator("#samples-error")).to_have_text("samples must be at most 8, got 9")
    expect(page.locator("#samples")).to_be_focused()


def test_a_full_queue_is_waited_for(scripted: ScriptedService, open_page: Open) -> None:
    scripted.result, scripted.headers = (429, error("queue full")), {"Retry-After": "2"}
    page = open_page(scripted.url, expected=("429",))
    page.fill("#query", "anything")
    page.click("#go")
    again = page.get_by_role("button", name="Try again")
    expect(page.locator("#message")).to_contain_text("The service has too much to do at the moment.")
    expect(again).to_be_disabled()
    expect(again).to_have_text("Try again in 2 s")
    scripted.result = 200, RESULT
    expect(again).to_be_enabled()
    again.click()
    page.wait_for_selector(".with .hit")


@pytest.mark.parametrize("how", ["button", "key"])
def test_stop_ends_the_thought(scripted: ScriptedService, open_page: Open, how: str) -> None:
    scripted.thought = None
    page = open_page(scripted.url)
    page.fill("#query", "anything")
    page.click("#go")
    expect(page.locator(".growing")).to_contain_text("again again")
    expect(page.locator(".without .hit")).to_have_count(1)
    if how == "button":
        page.click("#stop")
    else:
        page.keyboard.press("Escape")
    assert scripted.left.wait(10)  # the service sees that nobody waits
    expect(page.locator("#message")).to_contain_text("Stopped. These are the hits without thinking.")
    expect(page.locator(".with h2")).to_contain_text("Without thinking")
    expect(page.locator(".growing")).to_have_count(0)
    expect(page.locator("#go")).to_be_visible()


def test_a_connection_lost_in_the_thought(scripted: ScriptedService, open_page: Open) -> None:
    scripted.cut = True
    page = open_page(scripted.url)
    page.fill("#query", "anything")
    page.click("#go")
    expect(page.locator("#message")).to_contain_text("The connection was lost before the hits arrived. Search again.")
    expect(page.locator(".thought")).to_have_text("one thought")


def test_a_service_that_is_gone(own_index: Path, open_page: Open, serve: Serve) -> None:
    service = serve(f"own={own_index}")
    page = open_page(service.url, expected=("ERR_CONNECTION_REFUSED",))
    ask(page)
    service.stop()
    page.keyboard.press("Enter")
    expect(page.locator("#message")).to_contain_text("The service does not answer. Check that t1 serve is running")


def test_a_decision_not_to_think_is_shown(scripted: ScriptedService, open_page: Open) -> None:
    decision = {"thought": False, "score": 0.2, "threshold": 0.5, "reason": "the first hit is far ahead"}
    scripted.thought, scripted.result = [], (200, {**RESULT, "decision": decision})
    page = open_page(scripted.url)
    page.get_by_text("Auto", exact=True).click()
    ask(page, "anything")
    expect(page.locator("#thoughts")).to_contain_text("T1 did not think: the first hit is far ahead.")
    assert ("/v1/search/stream", "auto") in [(path, body.get("think")) for path, body in scripted.requests]


def test_several_thoughts_and_characters_beyond_utf16(scripted: ScriptedService, open_page: Open) -> None:
    """The service counts code points; a character outside of the basic plane is two units in JavaScript."""
    thought = "🐪 One. Two."
    sentences = [
        {"source": "thought", "text": "Two.", "start": 7, "end": 11, "effect": 0.3, "thought": index}
        for index in (0, 1)
    ]
    explanation = {"score_without_thinking": 0.1, "rank_without_thinking": 4, "sentences": sentences, "passage": None}
    hit = {
        **RESULT["hits"][0],
        "explanation": {**explanation, "passage": {"text": "B.", "start": 5, "end": 7, "score": 1}},
    }
    hit |= {"text": "🐪 A. B. C.", "end": 10}
    thoughts = [{"text": thought, "tokens": 3, "stop": "emb_token"}, {"text": thought, "tokens": 3, "stop": "budget"}]
    scripted.result = 200, {**RESULT, "hits": [hit], "thoughts": thoughts}
    page = open_page(scripted.url)
    ask(page, "anything")
    assert page.locator(".thoughts mark").all_inner_texts() == ["Two.", "Two."]
    assert page.locator("mark.best").all_inner_texts() == ["B."]
    expect(page.locator("#thought-title")).to_have_text("Thoughts")


def test_the_models_own_choice_about_thinking_is_preselected(scripted: ScriptedService, open_page: Open) -> None:
    scripted.index = {**scripted.index, "think_by_default": False}
    page = open_page(scripted.url)
    expect(page.get_by_role("radio", name="Off")).to_be_checked()
    page = open_page(f"{scripted.url}#q=anything&think=on")
    expect(page.get_by_role("radio", name="On")).to_be_checked()


def test_a_model_that_cannot_think_is_searched_without_a_thought(scripted: ScriptedService, open_page: Open) -> None:
    scripted.index = {**scripted.index, "thinks": False, "think_by_default": False}
    page = open_page(f"{scripted.url}#q=anything&think=on")
    expect(page.get_by_role("radio", name="Off")).to_be_checked()
    expect(page.get_by_role("radio", name="On")).to_be_disabled()
    expect(page.locator(".hit").first).to_be_visible()
    assert [body["think"] for path, body in scripted.requests if path.endswith("/search")] == [False]


def test_warnings_are_shown(scripted: ScriptedService, open_page: Open) -> None:
    scripted.result = (200, {**RESULT, "hits": [], "warnings": ["no document has the field 'yaer'"]})
    page = open_page(f"{scripted.url}#q=anything")
    expect(page.locator("p", has_text="Nothing found.").first).to_contain_text("no document has the field 'yaer'")
