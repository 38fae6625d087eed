"""A search on the real service: the thought, both rankings, explanations, filters, links."""

from __future__ import annotations

import json
import re
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ANSWER, MARKUP, QUESTION, Open, ask, hits
from tests.browser.services import Service

pytestmark = pytest.mark.browser


def search(service: Service, query: str, **options: object) -> list[str]:
    """What the service itself finds."""
    body = json.dumps({"query": query, **options}).encode()
    request = Request(f"{service.url}v1/search", body, {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return [hit["id"] for hit in json.load(answer)["hits"]]


def test_an_example_is_ready_and_enter_searches_it(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    expect(page.locator("#query")).to_have_value(QUESTION)
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".thoughts .thought")).to_have_text(
        re.compile("^mbabane is the capital of eswatini.*resources.$")
    )
    expect(page.locator(".with .hit .id").first).to_have_text(ANSWER)
    assert hits(page) == search(service, QUESTION, think=True)
    assert hits(page, "without") == search(service, QUESTION, think=False)


def test_rank_changes_are_drawn_and_written(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    ask(page)
    before = hits(page, "without")
    for rank, item in enumerate(page.locator(".with .hit").all(), 1):
        name, mark = item.locator(".id").inner_text(), item.locator(".move").inner_text()
        if name in before:
            old = before.index(name) + 1
            assert mark == ("same rank" if old == rank else f"{'↑' if old > rank else '↓'} from {old}")
        else:
            assert re.fullmatch(r"new|↑ from \d+", mark)
    assert page.locator(".lane .link").count() == len(hits(page))
    shown = page.locator(".figures dt").all_inner_texts()
    assert shown == ["think and embed", "search", "round trip", "without thinking"]


def test_a_hit_is_explained_by_keyboard_hover_and_tap(service: Service, open_page: Open) -> None:
    page = open_page(service.url, has_touch=True)
    ask(page)
    first, second = page.locator(".with .head").nth(0), page.locator(".with .head").nth(1)
    note = page.locator("#marks-note")
    expect(note).to_contain_text(f"1. {ANSWER}")
    assert page.locator(".thoughts mark.up").count() > 0

    first.focus()
    page.keyboard.press("ArrowDown")
    expect(second).to_be_focused()
    expect(note).to_contain_text("2. ")
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("aria-expanded", "true")
    reasons = page.locator("#why-2")
    expect(reasons).to_contain_text("Without thinking")
    expect(reasons.locator("tbody tr").first).to_contain_text("+0.")
    page.keyboard.press("Enter")
    expect(reasons).to_be_hidden()

    page.locator(".with .hit").nth(2).hover()
    expect(note).to_contain_text("3. ")
    page.mouse.move(0, 0)
    expect(note).to_contain_text("2. ")  # the one that has the focus

    page.locator(".with .hit .text").nth(3).tap()
    expect(page.locator("#why-4")).to_be_visible()


def test_without_thinking_there_is_one_list(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    page.get_by_text("Off", exact=True).click()
    ask(page)
    assert hits(page) == search(service, QUESTION, think=False)
    assert page.locator(".without").count() == 0


def test_a_budget_cuts_the_thought(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    page.click("#options-button")
    page.fill("#budget", "5")
    ask(page)
    expect(page.locator(".thoughts figcaption")).to_contain_text("5 tokens, cut at the budget")


@pytest.mark.parametrize(("field", "value"), [("budget", "-1"), ("samples", "many"), ("limit", "1e9")])
def test_a_wrong_option_is_refused_at_its_field(service: Service, open_page: Open, field: str, value: str) -> None:
    page = open_page(service.url)
    page.click("#options-button")
    page.fill(f"#{field}", value)
    page.click("#options-button")
    page.click("#go")
    expect(page.locator(f"#{field}")).to_be_focused()
    expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(f"#{field}-error")).to_contain_text(f"not “{value}”")


def test_filters_in_the_form_as_json_and_by_a_click(service: Service, open_page: Open) -> None:
    page = open_page(service.url, expected=("400 (Bad Request)",))
    page.click("#filter-button")
    page.click("#add-condition")
    page.get_by_label("Field of condition 1").fill("country")
    page.get_by_label("Comparison of condition 1").select_option("is one of")
    page.get_by_label("Value of condition 1").fill("Namibia, Zimbabwe")
    ask(page)
    assert hits(page) == search(service, QUESTION, filter={"country": ["Namibia", "Zimbabwe"]}, think=True)
    assert {name.split("/")[0] for name in hits(page)} == {"namibia", "zimbabwe"}

    page.click("#filter-mode")
    expect(page.locator("#filter-text")).to_have_value('{\n  "country": [\n    "Namibia",\n    "Zimbabwe"\n  ]\n}')
    page.fill("#filter-text", '{"country": "Namibia"')
    page.click("#go")
    expect(page.locator("#filter-error")).to_contain_text("This is not JSON")
    page.fill("#filter-text", '{"country": {"like": "N"}}')
    page.click("#go")
    expect(page.locator("#filter-error")).to_contain_text("no operator 'like'")  # the service's words, at the field
    page.click("#filter-clear")
    ask(page)

    page.locator(".with .chip").first.click()
    expect(page.locator("#conditions li")).to_have_count(1)
    page.wait_for_selector("#answer[aria-busy=false] .with .hit")
    assert {name.split("/")[0] for name in hits(page)} == {"botswana"}


def test_a_filter_that_nothing_passes_can_be_removed(service: Service, open_page: Open) -> None:
    page = open_page(f'{service.url}#q=x&filter={{"country":"Atlantis"}}')
    expect(page.locator("#message")).to_contain_text("Nothing found. No document passes the filter.")
    page.get_by_role("button", name="Search without the filter").click()
    page.wait_for_selector(".with .hit")


def test_a_link_repeats_the_search_and_back_goes_back(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    page.click("#options-button")
    page.fill("#limit", "3")
    ask(page)
    found, link = hits(page), page.url
    assert "limit=3" in link
    ask(page, "what is grown in Namibia")
    again = open_page(link)
    again.wait_for_selector("#answer[aria-busy=false] .with .hit")
    assert hits(again) == found
    page.go_back()
    expect(page.locator("#query")).to_have_value(QUESTION)
    expect(page.locator(".with .id").first).to_have_text(ANSWER)


def test_the_map_has_a_table(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    ask(page)
    expect(page.get_by_role("img", name="Map of vectors. 10 hits")).to_be_visible()
    page.get_by_text("The map as a table").click()
    rows = page.locator("#map-table tbody tr").all_inner_texts()
    assert len([row for row in rows if row.startswith("Hit ")]) == 10
    assert any(row.startswith("Thought, step 1\tmbabane is the capital") for row in rows)


def test_code_and_result_can_be_copied(service: Service, open_page: Open) -> None:
    page = open_page(service.url, permissions=["clipboard-read", "clipboard-write"])
    ask(page)
    page.click("#copy-json")
    expect(page.locator("#copied")).to_have_text("Result copied")
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert [hit["id"] for hit in copied["hits"]] == hits(page)
    page.get_by_text("curl", exact=True).click()
    expect(page.locator("#curl")).to_contain_text(f"curl {service.url}v1/search")
    assert page.locator("#python").text_content().count("httpx") == 2  # type: ignore[union-attr]


def test_markup_in_documents_and_queries_stays_text(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    ask(page, MARKUP)
    item = page.locator(".with .hit").first
    expect(item.locator(".text")).to_have_text(MARKUP)
    expect(item.locator(".id")).to_have_text("<u>markup</u>")
    expect(item.locator(".chip").first).to_have_text("country <i>Nowhere</i>")
    item.locator(".head").click()
    expect(item.locator(".reasons")).to_contain_text("<u>markup</u>")
    expect(page.locator("#marked-query")).to_have_text(MARKUP)
    page.get_by_text("The map as a table").click()
    assert page.locator("main img, main script, main i, main u").count() == 0
    assert page.title() == "T1 playground"


def test_the_status_is_announced_without_spam(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    page.evaluate(
        """() => {
            window.said = [];
            new MutationObserver(() => window.said.push(document.getElementById("status").textContent))
                .observe(document.getElementById("status"), { childList: true, characterData: true, subtree: true });
        }"""
    )
    ask(page)
    said = page.evaluate("window.said")
    assert said[0] == "T1 is thinking"
    assert len(said) == 2
    assert said[1].endswith(f"10 hits, the first is {ANSWER}.")
    assert page.locator("#thoughts").evaluate("element => element.closest('[aria-live], [role=status]')") is None


def test_slash_focuses_the_query(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    ask(page)
    page.locator(".with .head").first.focus()
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("a/b")
    expect(page.locator("#query")).to_have_value("a/b")
