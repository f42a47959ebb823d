"""Every Python example in README and docs runs."""

import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, g, request, session

from flask_larder import Cache

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def surroundings(upstream: str) -> dict[str, Any]:
    """What the examples take for granted: an app, a cache, a login."""
    app = Flask(__name__)
    app.config["CACHE_TYPE"] = "simple"
    return {
        "__name__": "example",
        "app": app,
        "cache": Cache(app),
        "current_user": SimpleNamespace(get_id=lambda: 7, name="ann", is_authenticated=False),
        "UPSTREAM": upstream,
        "g": g,
        "login_required": lambda view: view,
        "request": request,
        "search": dict,
        "session": session,
    }


class Upstream(SimpleHTTPRequestHandler):
    """Answers any request with an empty list."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[str]:
    """The address of a server that stands for somebody else's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_run(page: Path, upstream: str) -> None:
    """The examples of a page run one after the other, and its views answer."""
    names = surroundings(upstream)
    for example in EXAMPLE.findall(page.read_text("utf-8")):
        exec(compile(example, page, "exec"), names)
    app: Flask = names["app"]
    app.secret_key = "tests"
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            url = str(rule).replace("<int:number>", "4")
            assert app.test_client().get(url).status_code == 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A page's links to other files of the project exist."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
