"""The client of the universities API: what it does when nobody answers."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from service.universities_api import ApiFailedError, ApiTimeoutError, UniversitiesApi
from tests.redis_nodes import free_port
from tests.service.universities_twin import UniversitiesTwin, search


def client(url: str) -> UniversitiesApi:
    """Return a client that is quickly out of patience."""
    return UniversitiesApi(url, connect_timeout=0.2, read_timeout=0.3, total_timeout=0.5)


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """Listen on a port, and accept nobody: further connections wait to be made."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


def test_nobody_listens() -> None:
    """It failed, which is not the same as being late."""
    with pytest.raises(ApiFailedError):
        client(f"http://127.0.0.1:{free_port()}").search({"name": "x"})


def test_host_is_not_known() -> None:
    """So it did here."""
    with pytest.raises(ApiFailedError):
        client("http://universities.invalid").search({"name": "x"})


def test_connection_is_not_made_in_time() -> None:
    """A host that drops packets is late."""
    began = time.monotonic()
    with full_listener() as port, pytest.raises(ApiTimeoutError):
        client(f"http://127.0.0.1:{port}").search({"name": "x"})
    assert time.monotonic() - began < 1


def test_answer_that_drips(twin: UniversitiesTwin) -> None:
    """No wait is long, but all together are."""
    began = time.monotonic()
    with twin.answering("with_a_slow_body"), pytest.raises(ApiTimeoutError):
        client(twin.url).search({"name": "x"})
    assert 0.4 < time.monotonic() - began < 1


def test_deadline_is_of_one_search(twin: UniversitiesTwin) -> None:
    """A connection that is used again has the time of its new search."""
    api = client(twin.url)
    for _ in range(4):
        with twin.answering("slowly", delay=0.2):
            assert api.search({"country": "Spain"})


def test_connection_is_used_again(twin: UniversitiesTwin) -> None:
    """Also after an answer that was not read to its end."""
    api = client(twin.url)
    with twin.answering("with_too_much"), pytest.raises(ApiFailedError, match="more than"):
        api.search({"name": "x"})
    with twin.answering("well"):
        before = twin.connections
        for _ in range(5):
            api.search({"name": "bologna"})
        assert twin.connections <= before + 1


def test_answer_that_unpacks_to_too_much(twin: UniversitiesTwin) -> None:
    """It is small on the wire; no more of it than the limit is unpacked."""
    with twin.answering("with_a_bomb"), pytest.raises(ApiFailedError, match="more than"):
        client(twin.url).search({"name": "x"})


def test_path_of_the_address_is_kept(twin: UniversitiesTwin) -> None:
    """The API may stand below a path."""
    with twin.answering("well"):
        assert len(client(f"{twin.url}/v1").search({"name": "Uppsala"})) > 10
        assert twin.paths[-1] == "/v1/search"
        assert search("", "Uppsala")
