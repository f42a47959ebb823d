"""``GET /universities`` over HTTP, under both servers, in front of an API with bad manners."""

import pytest

from tests.service.processes import Service
from tests.service.universities_twin import MANNERS, UniversitiesTwin, search

FINE = {"well", "gzipped", "slowly"}
LATE = {"never", "with_slow_headers", "with_a_slow_body"}


def test_order_of_parameters_does_not_matter(service: Service, twin: UniversitiesTwin) -> None:
    """Both orders share one entry and one call of the API."""
    with twin.answering("well"):
        first = service.get("/universities?country=Germany&name=h")
        second = service.get("/universities?name=h&country=Germany")
        assert twin.calls == [{"country": "Germany", "name": "h"}]
    assert first.json() == second.json() == search("Germany", "h") != []
    assert first.content == second.content
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["Cache-Status"] == "larder; fwd=uri-miss; stored; ttl=30"
    assert second.headers["Cache-Status"].startswith("larder; hit; ttl=")


def test_unknown_parameters_are_ignored(service: Service, twin: UniversitiesTwin) -> None:
    """They make no entries, and the API does not see them."""
    with twin.answering("well"):
        service.get("/universities?country=Japan")
        other = service.get("/universities?limit=1&country=Japan&utm_source=x&Name=m")
        assert twin.calls == [{"country": "Japan"}]
    assert other.headers["Cache-Status"].startswith("larder; hit")
    assert other.json() == search("Japan")


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("country=T%C3%BCrkiye", {"country": "Türkiye"}),
        ("name=A%26M", {"name": "A&M"}),
        ("name=texas+a", {"name": "texas a"}),
        ("name=%C5%81%C3%B3dzka&country=", {"name": "Łódzka"}),
        ("country=United%20Kingdom&name=e", {"country": "United Kingdom", "name": "e"}),
        ("name=%23%25%3F%2B%3D%2F", {"name": "#%?+=/"}),
    ],
)
def test_values_reach_the_api_as_they_are(
    service: Service, twin: UniversitiesTwin, query: str, asked: dict[str, str]
) -> None:
    """Only what is given is asked for, properly encoded."""
    with twin.answering("well"):
        answer = service.get(f"/universities?{query}")
        assert twin.calls == [asked]
    assert answer.status_code == 200
    assert answer.json() == search(**asked)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?country=&name=",
        "?city=Berlin",
        "?Country=Germany",
        "?name=a&name=b",
        "?name=a%00b",
        "?name=a%0Ab",
        "?name=a%7F",
        "?name=" + "a" * 201,
        "?country=" + "a" * 3000,
    ],
)
def test_what_cannot_be_asked(service: Service, twin: UniversitiesTwin, query: str) -> None:
    """It is refused, twice, and the API does not hear of it."""
    with twin.answering("well"):
        for _ in range(2):
            answer = service.get(f"/universities{query}")
            assert answer.status_code == 400
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["title"] == "Bad Request"
            assert "hit" not in answer.headers["Cache-Status"]
        assert twin.calls == []


@pytest.mark.parametrize("manner", sorted(MANNERS - FINE))
def test_failing_api(service: Service, twin: UniversitiesTwin, manner: str) -> None:
    """It is 504 if it is late, else 502; the next caller is not told the same from memory."""
    path = f"/universities?country=Sweden&name={manner[:20]}"
    with twin.answering(manner):
        for calls in (1, 2):
            answer = service.get(path)
            assert answer.status_code == (504 if manner in LATE else 502)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["detail"].startswith("The universities API")
            assert answer.elapsed.total_seconds() < 3
            assert len(twin.calls) == calls
    with twin.answering("well"):
        assert service.get(path).status_code == 200


@pytest.mark.parametrize("manner", sorted(FINE))
def test_working_api(service: Service, twin: UniversitiesTwin, manner: str) -> None:
    """It is answered, and asked once."""
    path = f"/universities?country=Poland&name={'u' * (1 + sorted(FINE).index(manner))}"
    with twin.answering(manner, delay=0.2):
        answers = [service.get(path) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert len({answer.content for answer in answers}) == 1
        assert len(twin.calls) == 1
