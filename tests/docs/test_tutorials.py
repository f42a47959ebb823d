"""The tutorials' own files, run as the tutorials run them, against a real server."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from redis import Redis

from tests.conftest import RedisServer
from tests.redis_nodes import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
RUN = {
    "python app.py": lambda port: [sys.executable, "app.py"],
    "flask run": lambda port: [sys.executable, "-m", "flask", "run", "--port", str(port)],
}
GERMANY = [
    {"name": "Universität Bremen", "country": "Germany", "domains": ["uni-bremen.de"]},
    {"name": "Universität zu Köln", "country": "Germany", "domains": ["uni-koeln.de"]},
]


@contextmanager
def running(
    tutorial: str, command: Callable[[int], list[str]], folder: Path, **environ: str
) -> Iterator[tuple[str, Path]]:
    """The tutorial's app in *folder*; gives its address and the file of what it prints."""
    shutil.copytree(EXAMPLES / tutorial, folder, dirs_exist_ok=True)
    port = free_port()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(port),
            cwd=folder,
            env={**os.environ, **environ, "PORT": str(port)},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}", log
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("command", RUN.values(), ids=RUN)
def test_square(
    command: Callable[[int], list[str]],
    tmp_path: Path,
    redis_server: RedisServer,
    redis_client: Redis,
) -> None:
    """The square is computed once, and the second answer comes from the store."""
    with running("square", command, tmp_path, CACHE_REDIS_URL=redis_server.url) as (url, log):
        first, second = (requests.get(f"{url}/square/4", timeout=10) for _ in range(2))
        assert first.json() == second.json() == {"computed": 16}
        assert first.headers["Cache-Status"] == "larder; fwd=uri-miss; stored; ttl=50"
        assert second.headers["Cache-Status"].startswith("larder; hit; ttl=")
        assert log.read_text().count("Computing the square of 4") == 1
        (key,) = redis_client.keys("*view*")
        assert key.decode() == f"flask_cache_larder1:view/{url}/square/4"
        assert 0 < redis_client.ttl(key) <= 50
        assert redis_client.get(key).endswith(second.content)


@pytest.fixture
def api() -> Iterator[tuple[str, list[str]]]:
    """A small universities API; gives its address and the list of what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(GERMANY if "Germany" in self.path else []).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.parametrize("command", RUN.values(), ids=RUN)
def test_universities(
    command: Callable[[int], list[str]],
    tmp_path: Path,
    redis_server: RedisServer,
    redis_client: Redis,
    api: tuple[str, list[str]],
) -> None:
    """The slow API is asked once for a country, whatever the order of the parameters."""
    api_url, asked = api
    environ = {"CACHE_REDIS_URL": redis_server.url, "UNIVERSITIES_API_URL": api_url}
    with running("universities", command, tmp_path, **environ) as (url, _):
        paths = ["?country=Germany&page=1", "?page=1&country=Germany", "?country=France"]
        first, second, third = (requests.get(f"{url}/universities{p}", timeout=10) for p in paths)
    assert first.json() == second.json() == GERMANY
    assert third.json() == []
    assert second.headers["Cache-Status"].startswith("larder; hit")
    assert asked == ["/search?country=Germany", "/search?country=France"]


def test_env_has_the_six_settings() -> None:
    """The examples' .env is the tutorials' one, and there is nothing else in it."""
    for tutorial in ("square", "universities"):
        lines = (EXAMPLES / tutorial / ".env").read_text().split()
        assert [line.partition("=")[0] for line in lines] == [
            "CACHE_TYPE",
            "CACHE_REDIS_HOST",
            "CACHE_REDIS_PORT",
            "CACHE_REDIS_DB",
            "CACHE_REDIS_URL",
            "CACHE_DEFAULT_TIMEOUT",
        ]
