"""A shared cache as it is seen from outside: a client, a real server, and an origin behind it."""

import http.client
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message

import pytest

from tests.concurrency.servers import Server
from tests.conformance.origin import Origin, chunked
from tests.service.processes import wait_until

Ask = Callable[..., "Answer"]
FRESH = "Cache-Control: max-age=60"
OLD = "Age: 100"  # so that it is stale when it comes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client has read; *body* is ``None`` where the connection broke before its end."""

    status: int
    fields: Message
    body: bytes | None

    @property
    def is_hit(self) -> bool:
        return self.fields["Cache-Status"].startswith("larder; hit")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture(scope="module", params=["granian", "gunicorn"])
def server(request: pytest.FixtureRequest, origin: Origin) -> Iterator[Server]:
    """One with one worker, and a cache in its memory."""
    environ = {"PROXY_ORIGIN": origin.url, "CACHE_TYPE": "SimpleCache"}
    server = Server(request.param, environ, "tests.conformance.proxy_app:app")
    try:
        wait_until(server.answers, 20)
        yield server
    finally:
        server.end()


@pytest.fixture
def ask(server: Server) -> Ask:
    def ask(path: str, method: str = "GET", body: bytes | None = None, **fields: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            headers = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request(method, path, body, headers=headers)
            response = connection.getresponse()
            try:
                return Answer(response.status, response.headers, response.read())
            except http.client.IncompleteRead:
                return Answer(response.status, response.headers, None)
        finally:
            connection.close()

    return ask


_numbers = itertools.count()


@pytest.fixture
def path() -> str:
    """A path that no other test has."""
    return f"/{next(_numbers)}"


def test_the_next_request_is_answered_from_the_cache(origin: Origin, ask: Ask, path: str) -> None:
    """Also one that is sent as soon as the first has its last byte."""
    origin.will_send(path, FRESH, body=b"x" * 100_000)
    for _ in range(20):
        assert ask(path).body == b"x" * 100_000
    assert len(origin.asked[path]) == 1


@pytest.mark.parametrize(
    "status", ["299 Other", "404 Not Found", "499 Gone Away", "599 X", "999 Y"]
)
def test_status_codes_without_a_name_pass(origin: Origin, ask: Ask, path: str, status: str) -> None:
    """They are stored by what their fields say."""
    origin.will_send(path, FRESH, status=status)
    first, second = ask(path), ask(path)
    assert first.status == second.status == int(status[:3])
    assert second.is_hit


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Length: 10\r\n\r\nshort",
        b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"sho", b"rt", is_whole=False),
    ],
)
def test_an_incomplete_response_is_not_stored(
    origin: Origin, ask: Ask, path: str, data: bytes
) -> None:
    """RFC 9111 section 3.3: be it short of its length, or of its last chunk."""
    origin.will_write(path, b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n" + data)
    origin.will_send(path, FRESH, body=b"whole")
    assert ask(path).body != b"short"
    assert ask(path).body == b"whole"


def test_a_whole_response_in_chunks_is_stored(origin: Origin, ask: Ask, path: str) -> None:
    """And sent with its length."""
    data = b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"who", b"le", is_whole=True)
    origin.will_write(path, b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n" + data)
    ask(path)
    hit = ask(path)
    assert (hit.body, hit.fields["Content-Length"], hit.is_hit) == (b"whole", "5", True)


def test_fields_keep_their_lines(origin: Origin, ask: Ask, path: str) -> None:
    """RFC 9111 section 3.1: all fields are stored, those that are not known among them."""
    origin.will_send(path, FRESH, "X-A: 1", "X-A: 2", "X-B: (b), c")
    ask(path)
    hit = ask(path)
    assert hit.fields.get_all("X-A") == ["1", "2"]
    assert hit.fields["X-B"] == "(b), c"


def test_the_date_is_not_the_clock(origin: Origin, ask: Ask, path: str) -> None:
    """A server may replace the ``Date`` of a hit; its age is known all the same."""
    origin.will_send(path, FRESH, "Date: Thu, 26 Nov 2026 10:00:00 GMT")  # long ago, one day
    answer = ask(path)
    assert "stored" not in answer.fields["Cache-Status"]


def test_age_grows_from_what_it_came_with(origin: Origin, ask: Ask, path: str) -> None:
    """RFC 9111 section 4.2.3."""
    origin.will_send(path, FRESH, "Age: 30")
    ask(path)
    assert 30 <= int(ask(path).fields["Age"]) <= 32


@pytest.mark.parametrize("vary", [", *", "*, foo", "foo, *"])
def test_what_varies_by_everything_is_never_reused(
    origin: Origin, ask: Ask, path: str, vary: str
) -> None:
    """RFC 9111 section 4.1."""
    origin.will_send(path, FRESH, f"Vary: {vary}")
    ask(path, foo="1")
    assert not ask(path, foo="1").is_hit


def test_lines_of_one_name_are_one_value(origin: Origin, server: Server, path: str) -> None:
    """RFC 9111 section 4.1: they select the same as the value that they make."""
    origin.will_send(path, FRESH, "Vary: Foo")
    for lines in (["1, 2"], ["1", "2"]):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.putrequest("GET", path)
        for line in lines:
            connection.putheader("Foo", line)
        connection.endheaders()
        connection.getresponse().read()
        connection.close()
    assert len(origin.asked[path]) == 1


@pytest.mark.parametrize("field", ["Cache_Control", "Pragma"])
def test_a_request_that_says_nothing_known_changes_nothing(
    origin: Origin, ask: Ask, path: str, field: str
) -> None:
    """RFC 9111 section 5.2.3."""
    origin.will_send(path, FRESH)
    ask(path)
    assert ask(path, **{field: "foo=1, bar"}).is_hit


def test_an_origin_that_closes_the_connection_is_an_error(
    origin: Origin, ask: Ask, path: str
) -> None:
    """RFC 5861 section 4: within the window that the response has given."""
    origin.will_send(path, "Cache-Control: max-age=60, stale-if-error=900", OLD, body=b"old")
    origin.will_write(path, b"")
    ask(path)
    assert ask(path).body == b"old"


@pytest.mark.parametrize(
    "control", ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"]
)
def test_some_responses_are_never_sent_stale(
    origin: Origin, ask: Ask, path: str, control: str
) -> None:
    """RFC 9111 section 4.2.4: also where the origin closes the connection."""
    origin.will_send(path, f"Cache-Control: max-age=60, {control}", OLD, 'ETag: "a"')
    origin.will_write(path, b"")
    ask(path)
    assert ask(path).status == 502


def test_a_later_no_store_leaves_what_is_fresh(origin: Origin, ask: Ask, path: str) -> None:
    """It says nothing of the response that is stored."""
    origin.will_send(path, FRESH, body=b"stored")
    origin.will_send(path, "Cache-Control: no-store", body=b"not stored")
    ask(path)
    assert ask(path, Cache_Control="no-cache").body == b"not stored"
    assert ask(path).body == b"stored"


def test_a_304_freshens(origin: Origin, ask: Ask, path: str) -> None:
    """RFC 9111 section 4.3.4: its fields are the newer ones, but for the length."""
    origin.will_send(
        path, "Cache-Control: max-age=60", OLD, 'ETag: "a"', "X-A: old", body=b"stored"
    )
    origin.will_send(
        path, FRESH, 'ETag: "a"', "X-A: new", "Content-Length: 99", status="304 NM", body=b""
    )
    ask(path)
    answer = ask(path)
    assert (answer.status, answer.body, answer.fields["X-A"]) == (200, b"stored", "new")
    hit = ask(path)
    assert (hit.body, hit.fields["X-A"], hit.is_hit) == (b"stored", "new", True)
    assert [asked.get("if-none-match") for asked in origin.asked[path]] == [None, '"a"']


def test_the_clients_conditions_stay_here(origin: Origin, ask: Ask, path: str) -> None:
    """RFC 9111 section 4.3.2: ours are sent, and then theirs are judged."""
    origin.will_send(path, "Cache-Control: no-cache", 'ETag: "a"')
    origin.will_send(path, 'ETag: "a"', status="304 Not Modified", body=b"")
    ask(path, If_None_Match='"b"')
    assert ask(path, If_None_Match='"b"').status == 200
    same = ask(path, If_None_Match='"b", W/"a"', If_Modified_Since="Thu, 01 Jan 1970 00:00:00 GMT")
    assert (same.status, same.body, same.fields["ETag"]) == (304, b"", '"a"')
    assert [asked.get("if-none-match") for asked in origin.asked[path]] == [None, '"a"', '"a"']


def test_head_is_answered_from_get(origin: Origin, ask: Ask, path: str) -> None:
    """RFC 9111 section 2: with the length of the whole."""
    origin.will_send(path, FRESH, body=b"12345")
    ask(path)
    head = ask(path, "HEAD")
    assert (head.body, head.fields["Content-Length"], head.is_hit) == (b"", "5", True)


def test_head_freshens_get(origin: Origin, ask: Ask, path: str) -> None:
    """RFC 9111 section 4.3.5."""
    origin.will_send(path, FRESH, OLD, 'ETag: "a"', body=b"stored")
    origin.will_send(path, FRESH, 'ETag: "a"', "Content-Length: 6", body=b"")
    ask(path)
    ask(path, "HEAD")
    hit = ask(path)
    assert (hit.body, hit.is_hit) == (b"stored", True)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("status", ["200 OK", "303 See Other"])
def test_an_unsafe_method_makes_the_cache_forget(
    origin: Origin, ask: Ask, path: str, method: str, status: str
) -> None:
    """The URL that it was about, and those that its answer names."""
    named = [f"Location: {path}/made", f"Content-Location: {path}/shown"]
    origin.will_send(path, FRESH, body=b"old")
    origin.will_send(path, *named, status=status)
    origin.will_send(path, FRESH, body=b"new")
    for other in ("/made", "/shown", "/other"):
        origin.will_send(path + other, FRESH)
        ask(path + other)
    assert (ask(path).body, ask(path).body) == (b"old", b"old")
    ask(path, method)
    assert ask(path).body == b"new"
    is_hit = [ask(path + other).is_hit for other in ("/made", "/shown", "/other")]
    assert is_hit == [False, False, True]


def test_an_error_makes_the_cache_forget_nothing(origin: Origin, ask: Ask, path: str) -> None:
    """Nothing has changed, then."""
    origin.will_send(path, FRESH, body=b"old")
    origin.will_send(path, status="400 Bad Request")
    ask(path)
    ask(path, "POST")
    assert ask(path).is_hit


@pytest.mark.parametrize("size", [1000, 3_000_000], ids=["stored", "too large to store"])
def test_the_origin_is_asked_for_the_whole(origin: Origin, ask: Ask, path: str, size: int) -> None:
    """And the client gets its part of it, be it stored or cut out as it passes."""
    body = bytes(range(250)) * (size // 250)
    origin.will_send(path, FRESH, 'ETag: "a"', "Content-Type: text/plain", body=body)
    for _ in range(2):
        part = ask(path, Range=f"bytes={size - 600}-{size - 101}", If_Range='"a"')
        assert (part.status, part.body) == (206, body[-600:-100])
        assert part.fields["Content-Range"] == f"bytes {size - 600}-{size - 101}/{size}"
        assert part.fields["Content-Length"] == "500"
        assert ask(path, Range=f"bytes={size}-").status == 416
    whole = ask(path)
    assert (whole.status, whole.body) == (200, body)
    assert whole.is_hit == (size == 1000)
    assert not any("range" in fields for fields in origin.asked[path])
