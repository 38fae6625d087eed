"""The playground in headless Chromium. Every test also fails on errors in the console and on requests to elsewhere."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from t1_vectorstore.cli.demo import CORPUS
from tests.browser.services import ScriptedService, Service, serving, t1

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COUNTRIES = ("Botswana", "Eswatini", "Indonesia", "Malaysia", "Mozambique", "Namibia", "South Africa", "Zimbabwe")
QUESTION = (
    "what can be mined in the neighbour sharing the longest frontier with the neighbour sharing the longest frontier "
    "with the nation ruled from Mbabane"
)
ANSWER = "botswana/resources"
MARKUP = "<b>bold</b> <img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"

Open = Callable[..., "Page"]
Serve = Callable[..., Service]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Facts of a few countries, and a document of markup."""
    with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
        records = [record for line in lines if (record := json.loads(line))["metadata"]["country"] in COUNTRIES]
    records.append(
        {"id": "<u>markup</u>", "text": MARKUP, "metadata": {"country": "<i>Nowhere</i>", "facet": "markup"}}
    )
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def index(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the corpus, which no test changes."""
    folder = tmp_path_factory.mktemp("index") / "facts"
    t1("index", corpus, "--to", folder, "--index-field", "country=keyword", cwd=corpus.parent)
    return folder


@pytest.fixture(scope="session")
def service(index: Path) -> Iterator[Service]:
    """A service that only reads."""
    with serving(f"facts={index}", "--read-only", cwd=index.parent) as running:
        yield running


@pytest.fixture
def own_index(index: Path, tmp_path: Path) -> Path:
    """A copy of the index, which a test may change."""
    return Path(shutil.copytree(index, tmp_path / "own"))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start ``t1 serve`` with arguments; it runs until the pages are closed."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(serving(*arguments, cwd=tmp_path))


@pytest.fixture
def scripted() -> Iterator[ScriptedService]:
    """A service that answers as the test says."""
    running = ScriptedService()
    yield running
    running.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, in which evil.example is this machine."""
    names = ("chromium", "google-chrome")
    path = os.environ.get("T1_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        if os.environ.get("T1_REQUIRE_BROWSER"):
            pytest.fail("no Chromium; install one, or name it by T1_CHROMIUM")
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-background-networking", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Browser, serve: Serve) -> Iterator[Open]:
    """Open a page. At the end, it must have logged only what ``expected`` names, and made no request to other sites."""
    _ = serve  # pages are closed before services end
    opened: list[tuple[Page, str, list[str], tuple[str, ...]]] = []

    def start(url: str, *, width: int = 1280, expected: tuple[str, ...] = (), **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        page = context.new_page()
        page.set_default_timeout(20_000)
        seen: list[str] = []
        page.on("console", lambda message: seen.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("dialog", lambda dialog: seen.append(f"dialog {dialog.message}"))
        site = "/".join(url.split("/")[:3]) + "/"
        page.on("request", lambda asked: None if asked.url.startswith(site) else seen.append(f"request {asked.url}"))
        opened.append((page, url, seen, expected))
        page.goto(url)
        return page

    yield start
    for page, _, seen, expected in opened:
        page.context.close()
        assert [text for text in seen if not any(part in text for part in expected)] == []


def ask(page: Page, query: str = QUESTION) -> None:
    """Search, and wait for the hits."""
    page.fill("#query", query)
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer[aria-busy=false] .with .hit")


def hits(page: Page, side: str = "with") -> list[str]:
    """The ids of the hits on one side, in order."""
    return page.locator(f".{side} .hit .id").all_inner_texts()
