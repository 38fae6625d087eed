"""Keys, other sites, and what the page may load."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open, Serve, ask
from tests.browser.services import PLAYGROUND, Service, t1

pytestmark = pytest.mark.browser


@pytest.fixture
def other_site() -> Iterator[str]:
    """A site of somebody else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>other</title>")

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def count(service: Service) -> int:
    request = Request(f"{service.url}v1/documents/count", b"{}", {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return int(json.load(answer)["count"])


def test_a_page_of_another_site_can_neither_read_nor_write(
    own_index: Path, open_page: Open, serve: Serve, other_site: str
) -> None:
    service = serve(f"own={own_index}")
    before = count(service)
    page = open_page(other_site, expected=("CORS", "Failed to load", f"request {service.url}"))
    for kind in ("application/json", "text/plain"):  # the second one is sent without asking the service first
        outcome = page.evaluate(
            """async ([url, type]) => {
                try {
                    const body = JSON.stringify({ documents: [{ text: "from elsewhere" }] });
                    const headers = { "Content-Type": type };
                    return (await fetch(url + "v1/documents", { method: "POST", headers, body })).status;
                } catch (error) {
                    return error.name;
                }
            }""",
            [service.url, kind],
        )
        assert outcome == "TypeError"
    assert count(service) == before


def test_dns_rebinding_is_refused(service: Service, open_page: Open) -> None:
    page = open_page(f"http://evil.example:{service.port}/", expected=("403 (Forbidden)",))
    assert "does not answer under the name 'evil.example'" in page.locator("body").inner_text()
    status = page.evaluate("async () => (await fetch('/v1/indexes')).status")
    assert status == 403


def test_only_the_services_own_files_are_loaded(service: Service, open_page: Open) -> None:
    page = open_page(service.url, expected=("Content Security Policy", "Refused to"))
    ask(page)
    answer = page.request.get(service.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in policy
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.append("document.title = 'run'");
            document.body.append(script);
        }"""
    )
    assert page.title() == "T1 playground"


def test_keys_stay_in_the_tab(own_index: Path, tmp_path: Path, open_page: Open, serve: Serve) -> None:
    reading = t1("keys", "add", "keys.json", "reader", cwd=tmp_path).split()[-1]
    writing = t1("keys", "add", "keys.json", "writer", "--write", cwd=tmp_path).split()[-1]
    service = serve(f"own={own_index}", "--keys", "keys.json")
    page = open_page(service.url, expected=("401",))
    expect(page.locator("#message")).to_contain_text("The service needs an API key.")
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#message")).to_contain_text("The service does not accept this API key.")

    page.locator("#key").fill(reading)
    page.keyboard.press("Enter")
    expect(page.locator("#index")).to_contain_text("own · ")
    expect(page.locator("#message")).to_be_empty()
    ask(page)
    expect(page.locator("#documents")).to_be_hidden()
    assert reading not in page.url
    assert reading not in page.content()
    assert reading not in page.evaluate("JSON.stringify(localStorage)")
    assert reading in page.evaluate("JSON.stringify(sessionStorage)")
    expect(page.locator("#curl")).to_contain_text("$T1_API_KEY")

    page.click("#key-button")
    page.locator("#key").fill(writing)
    page.keyboard.press("Enter")
    expect(page.locator("#documents")).to_be_visible()
    page.click("#key-button")
    page.click("#key-forget")
    expect(page.locator("#message")).to_contain_text("The service needs an API key.")
    assert page.evaluate("sessionStorage.length") == 0


def test_the_index_is_chosen(index: Path, tmp_path: Path, open_page: Open, serve: Serve) -> None:
    (tmp_path / "moss.jsonl").write_text(
        '{"id": "moss", "text": "Purple moss is eaten.", "metadata": {"title": "Moss"}}\n'
    )
    t1("index", "moss.jsonl", "--to", "moss", cwd=tmp_path)
    service = serve(f"facts={index}", "moss=moss", "--read-only")
    page = open_page(service.url)
    page.locator("#index").select_option("moss")
    expect(page.locator(".example")).to_have_text(["Moss"])
    ask(page, "moss")
    assert "index=moss" in page.url
    again = open_page(page.url)
    again.wait_for_selector("#answer[aria-busy=false] .with .hit")
    expect(again.locator("#index")).to_have_value("moss")
    expect(again.locator(".with .id")).to_have_text("moss")
    unknown = open_page(f"{service.url}#q=moss&index=gone")
    expect(unknown.locator("#message")).to_contain_text("There is no index “gone” here.")
    assert unknown.locator(".hit").count() == 0


@pytest.mark.parametrize("path", sorted(PLAYGROUND.glob("*.js")), ids=lambda path: path.name)
def test_scripts_never_parse_html(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser", "Function("):
        assert name not in text
