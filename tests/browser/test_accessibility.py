"""Accessibility by axe-core, and what it cannot see: widths, themes, motion, keyboard."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, ask
from tests.browser.services import ScriptedService, Service

pytestmark = pytest.mark.browser

THEMES = ("light", "dark")
WIDTHS = (360, 820, 1440)


def check(page: Page) -> None:
    """Fail on anything that axe-core finds, best practices included."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    wide = page.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")
    assert wide <= 0, f"the page scrolls sideways by {wide} px"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing(service: Service, open_page: Open, theme: str, width: int) -> None:
    page = open_page(service.url, width=width, color_scheme=theme, reduced_motion="reduce")
    page.wait_for_selector(".example")
    check(page)
    page.click("#options-button")
    page.click("#filter-button")
    page.click("#add-condition")
    page.click("#key-button")
    page.click("#go")
    expect(page.locator("#message")).to_be_empty()
    page.click("#filter-clear")
    ask(page)
    page.locator(".with .head").first.click()
    for title in ("The map as a table", "curl", "Python", "Result"):
        page.get_by_text(title, exact=True).first.click()
    check(page)


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_in_an_error(scripted: ScriptedService, open_page: Open, theme: str) -> None:
    scripted.result = (
        500,
        {"error": {"message": "the model failed", "type": "server_error", "param": None, "code": None}},
    )
    page = open_page(scripted.url, color_scheme=theme, expected=("500",))
    page.click("#options-button")
    page.fill("#budget", "x")
    page.fill("#query", "anything")
    page.click("#go")
    expect(page.locator("#budget-error")).to_be_visible()
    check(page)
    page.fill("#budget", "")
    page.click("#go")
    expect(page.locator("#message")).to_contain_text("failed")
    check(page)
    page.set_input_files("#files", [{"name": "a.pdf", "mimeType": "", "buffer": b"x"}])
    expect(page.locator("#load-report")).to_contain_text("1 failed")
    check(page)


def test_the_theme_is_the_systems_until_it_is_chosen(service: Service, open_page: Open) -> None:
    page = open_page(service.url, color_scheme="dark")
    background = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    toggle = page.get_by_role("button", name="Dark theme")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "false")
    assert page.evaluate(background) != dark
    page.reload()
    expect(toggle).to_have_attribute("aria-pressed", "false")


def test_nothing_moves_if_motion_is_reduced(scripted: ScriptedService, open_page: Open) -> None:
    scripted.thought = None
    page = open_page(scripted.url, reduced_motion="reduce")
    page.fill("#query", "anything")
    page.click("#go")
    expect(page.locator(".growing")).to_contain_text("again")
    names = page.evaluate("getComputedStyle(document.querySelector('.growing'), '::after').animationName")
    assert names == "none"
    assert page.evaluate("document.getAnimations().length") == 0
    page.keyboard.press("Escape")


def test_every_control_is_reached_by_tab_and_shows_its_focus(service: Service, open_page: Open) -> None:
    page = open_page(service.url)
    ask(page)
    page.locator(".skip").focus()
    page.keyboard.press("Shift+Tab")  # to the browser's own controls
    seen = []
    for _ in range(80):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => {
                const at = document.activeElement;
                if (at === document.body) return null;
                const within = at.matches("[type=radio], [type=file]") ? at.nextElementSibling : at;
                const style = getComputedStyle(at.id === "query" ? at.parentElement : within);
                const visible = style.outlineStyle !== "none" || style.boxShadow !== "none";
                return [at.id || at.className || at.tagName, visible];
            }"""
        )
        if found is None:
            break
        seen.append(found)
    assert {name for name, visible in seen if not visible} == set()
    reached = {name for name, _ in seen}
    assert {
        "skip",
        "query",
        "go",
        "options-button",
        "filter-button",
        "key-button",
        "theme",
        "head",
        "chip",
        "copy-link",
    } <= reached
