"""The other pages of the service, and its errors."""

import pytest
import requests

from service import app as app_module
from tests.service.processes import Service


def test_index_links(service: Service) -> None:
    """Each link of the front page works."""
    links = service.get("/").json()["links"]
    assert set(links) == {"square", "universities", "health", "readiness"}
    assert {service.get(link).status_code for link in links.values()} == {200}


def test_health_and_readiness(service: Service) -> None:
    """Both are answered, and not to be stored by anybody."""
    for path in ("/healthz", "/readyz"):
        answer = service.get(path)
        assert answer.json() == {"status": "ok"}
        assert answer.headers["Cache-Control"] == "no-store"


def test_unknown_path(service: Service) -> None:
    """It is a problem, too."""
    answer = service.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["title"] == "Not Found"


def test_wrong_method(service: Service) -> None:
    """What is allowed is said in the header that is meant for it."""
    answer = requests.post(f"{service.url}/square/4", timeout=20)
    assert answer.status_code == 405
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "GET" in answer.headers["Allow"]


def test_unforeseen_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The user is told nothing of it, the log everything."""
    monkeypatch.setenv("CACHE_TYPE", "NullCache")
    app = app_module.create_app()

    @app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError("secret of the house")

    answer = app.test_client().get("/broken")
    assert answer.status_code == 500
    assert answer.content_type == "application/problem+json"
    assert b"ZeroDivision" not in answer.data
    assert b"secret" not in answer.data
    assert "secret of the house" in caplog.text
