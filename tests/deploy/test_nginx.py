"""What nginx does with requests and answers, as deploy/nginx configures it."""

import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from deploy.verification.client import Load
from tests.deploy.conftest import needs_nginx
from tests.deploy.proxy import Proxy
from tests.deploy.upstream import Upstream, squared
from tests.redis_nodes import free_port
from tests.service.processes import wait_until

pytestmark = needs_nginx

CLAIMS = {
    "X-Forwarded-For": "10.9.8.7",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "444",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "https",
    "X-Real-IP": "10.9.8.7",
    "Forwarded": "for=10.9.8.7;host=evil.example;proto=https",
    "Proxy": "http://evil.example",
    "SCRIPT_NAME": "/evil",
}

ProxyTo = Callable[..., Proxy]


def url(proxy: Proxy, path: str = "/") -> str:
    return f"http://127.0.0.1:{proxy.port}{path}"


def raw(proxy: Proxy, request: bytes) -> bytes:
    """Send bytes, and return the answer up to its end."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_configuration_is_accepted(proxy_to: ProxyTo) -> None:
    """The server itself finds nothing to warn of."""
    proxy = proxy_to(free_port(), "127.0.0.1")
    done = subprocess.run(
        ["/usr/sbin/nginx", "-t", "-c", str(proxy.configuration)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "[warn]" not in done.stderr


def test_forwarded_fields_are_written_by_nginx(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """What a client says of itself in forwarded fields does not reach the app."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    requests.get(url(proxy), headers=CLAIMS, timeout=10)
    (asked,) = upstream.asked
    assert asked.field("X-Forwarded-For") == "127.0.0.1"
    assert asked.field("X-Forwarded-Proto") == "http"
    assert asked.field("X-Forwarded-Host") == f"127.0.0.1:{proxy.port}"
    assert asked.field("Host") == f"127.0.0.1:{proxy.port}"
    said = {name.lower(): value for name, value in asked.fields}
    assert not {"forwarded", "x-forwarded-port", "x-forwarded-prefix", "x-real-ip", "proxy"} & set(
        said
    )
    assert "evil" not in str(said)


def test_target_reaches_the_app_as_it_was_sent(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """No slash is merged and nothing is decoded: the target is the cache's key."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    target = b"/a//b/%2e%2e/c%2Fd;x?b=2&a=1&&c=%20+"
    raw(proxy, b"GET " + target + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert upstream.asked[0].target == target.decode()


def test_request_without_a_host_gets_one(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """HTTP/1.0 needs no Host; the app does."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    raw(proxy, b"GET / HTTP/1.0\r\n\r\n")
    assert upstream.asked[0].field("Host") == "localhost"


def test_answer_reaches_the_client_as_it_is(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """All fields of the app come through, also those that nginx likes to write itself."""
    upstream.fields = {
        "Age": "7",
        "Cache-Control": "max-age=60",
        "Cache-Status": "larder; hit; ttl=53",
        "Content-Type": "application/json",
        "Date": "Tue, 24 Nov 2026 10:00:00 GMT",
        "ETag": '"strong"',
        "Expires": "Tue, 24 Nov 2026 10:01:00 GMT",
        "Last-Modified": "Tue, 24 Nov 2026 09:00:00 GMT",
        "Server": "granian",
        "Server-Timing": "cache;dur=0.2",
        "Vary": "Accept-Encoding",
        "X-Accel-Expires": "0",
    }
    proxy = proxy_to(upstream.port, "127.0.0.1")
    answer = requests.get(url(proxy), headers={"Accept-Encoding": "gzip"}, timeout=10)
    kept = {name: answer.headers.get(name) for name in upstream.fields}
    del kept["X-Accel-Expires"]  # a word to nginx, not to the client
    assert kept == {n: v for n, v in upstream.fields.items() if n != "X-Accel-Expires"}
    assert set(answer.headers) - set(kept) == {"Connection", "Content-Length"}


def test_304_reaches_the_client(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """The app answers conditional requests; nginx passes condition and answer on."""
    upstream.status, upstream.fields = 304, {"ETag": '"v1"', "Cache-Status": "larder; hit"}
    proxy = proxy_to(upstream.port, "127.0.0.1")
    answer = requests.get(url(proxy), headers={"If-None-Match": '"v1"'}, timeout=10)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == '"v1"'
    assert answer.headers["Cache-Status"] == "larder; hit"
    assert upstream.asked[0].field("If-None-Match") == '"v1"'


def test_nginx_answers_no_condition_itself(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """A 200 of the app stays one, even where its entity tag is the one that was asked for."""
    upstream.fields = {"ETag": '"v1"', "Accept-Ranges": "bytes"}
    proxy = proxy_to(upstream.port, "127.0.0.1")
    fields = {"If-None-Match": '"v1"', "Range": "bytes=0-0"}
    answer = requests.get(url(proxy, "/abc"), headers=fields, timeout=10)
    assert (answer.status_code, answer.text) == (200, "/abc")


def test_nginx_stores_nothing(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """Each request reaches the app, however long its answer is fresh."""
    upstream.fields = {"Cache-Control": "public, max-age=600", "X-Accel-Expires": "600"}
    proxy = proxy_to(upstream.port, "127.0.0.1")
    for _ in range(3):
        requests.get(url(proxy), timeout=10)
    assert len(upstream.asked) == 3


def test_connections_to_the_app_are_kept(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """Many requests, each on a connection of its own, need few connections to the app."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    for _ in range(30):
        requests.get(url(proxy), timeout=10)
    assert len(upstream.asked) == 30
    assert upstream.connections <= 2  # one for each worker of nginx


def test_leaving_client_does_not_end_the_render(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """The app is not told that a client has gone: others may wait for the same answer."""
    upstream.held = threading.Event()
    proxy = proxy_to(upstream.port, "127.0.0.1")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        wait_until(lambda: upstream.asked)
    # A later request through the same nginx, which has then seen the end of the earlier one.
    for _ in range(20):
        requests.get(f"http://127.0.0.1:{proxy.health_port}", timeout=10)
    upstream.held.set()
    wait_until(lambda: upstream.answered == 1)
    assert not upstream.saw_end


def test_half_a_request_does_not_reach_the_app(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """A client that sends slowly occupies nginx, not the app."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    halves = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(50)]
    try:
        for half in halves:
            half.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
        assert requests.get(url(proxy), timeout=10).status_code == 200
        assert [asked.method for asked in upstream.asked] == ["GET"]
    finally:
        for half in halves:
            half.close()


def test_large_body_is_refused(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """What is larger than 64 KiB is refused before it is sent."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}\n"):
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"title": "Content Too Large"' in answer
    assert not upstream.asked


@pytest.mark.parametrize("drops", [True, False])
def test_no_app_is_a_problem_that_nobody_keeps(
    proxy_to: ProxyTo, upstream: Upstream, drops: bool
) -> None:
    """What nginx says for an app that is gone has the form of the service's errors."""
    upstream.drops = drops
    proxy = proxy_to(upstream.port if drops else free_port(), "127.0.0.1")
    answer = requests.get(url(proxy), timeout=10)
    assert answer.status_code == 502
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert (answer.json()["status"], answer.json()["title"]) == (502, "Bad Gateway")


def test_errors_of_the_app_stay_its_own(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """A 502 that the app says, of another API, is not replaced."""
    upstream.status = 502
    proxy = proxy_to(upstream.port, "127.0.0.1")
    assert requests.get(url(proxy, "/mine"), timeout=10).text == "/mine"


def test_without_any_replica_it_starts(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """It needs no app to start, and finds it when it comes."""
    proxy = proxy_to(upstream.port)
    assert requests.get(url(proxy), timeout=10).status_code == 502
    proxy.names("127.0.0.1")
    wait_until(lambda: requests.get(url(proxy), timeout=10).status_code == 200)


def test_get_that_a_replica_drops_goes_to_another(proxy_to: ProxyTo) -> None:
    """A replica that dies in the middle costs a GET nothing; a POST is not sent twice."""
    with (
        Upstream("127.0.0.2", drops=True).running() as dying,
        Upstream("127.0.0.3", dying.port).running(),
    ):
        proxy = proxy_to(dying.port, "127.0.0.2", "127.0.0.3")
        answers = [requests.get(url(proxy), timeout=10).status_code for _ in range(6)]
        assert answers == [200] * 6
        assert dying.asked


def test_post_that_a_replica_drops_is_not_sent_again(proxy_to: ProxyTo) -> None:
    """It may have done what it was to do."""
    with (
        Upstream("127.0.0.2", drops=True).running() as one,
        Upstream("127.0.0.3", one.port, drops=True).running() as other,
    ):
        proxy = proxy_to(one.port, "127.0.0.2", "127.0.0.3")
        assert requests.post(url(proxy), timeout=10).status_code == 502
        assert len(one.asked) + len(other.asked) == 1


def test_slow_view_is_not_started_again_elsewhere(proxy_to: ProxyTo) -> None:
    """What has taken too long at one replica would take too long at the next."""
    held = threading.Event()
    with (
        Upstream("127.0.0.2", held=held).running() as one,
        Upstream("127.0.0.3", one.port, held=held).running() as other,
    ):
        quicker = {
            "proxy_read_timeout 60s": "proxy_read_timeout 600ms",
            "proxy_next_upstream_timeout 10s": "proxy_next_upstream_timeout 100ms",
        }
        proxy = proxy_to(one.port, "127.0.0.2", "127.0.0.3", changes=quicker)
        answer = requests.get(url(proxy), timeout=10)
        assert (answer.status_code, answer.json()["title"]) == (504, "Gateway Timeout")
        assert len(one.asked) + len(other.asked) == 1


def test_one_address_has_a_bounded_number_of_requests(
    proxy_to: ProxyTo, upstream: Upstream
) -> None:
    """The next one is told so."""
    upstream.held = threading.Event()
    changes = {"limit_conn clients 512": "limit_conn clients 2"}
    proxy = proxy_to(upstream.port, "127.0.0.1", changes=changes)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(requests.get, url(proxy), timeout=20) for _ in range(2)]
        wait_until(lambda: len(upstream.asked) == 2)
        answer = requests.get(url(proxy), timeout=10)
        assert (answer.status_code, answer.json()["title"]) == (429, "Too Many Requests")
        upstream.held.set()
        assert {request.result().status_code for request in waiting} == {200}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 9000, 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: h", 414),
        (b"GET / HTTP/1.1", 400),
    ],
    ids=["field", "url", "host"],
)
def test_what_nginx_refuses_is_a_problem(
    proxy_to: ProxyTo, upstream: Upstream, head: bytes, status: int
) -> None:
    """In the form of the service's errors, and nobody keeps it."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    answer = raw(proxy, head + b"\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: application/problem+json" in answer
    assert b"Cache-Control: no-store" in answer
    assert not upstream.asked


def test_replicas_come_and_go_under_load(proxy_to: ProxyTo) -> None:
    """New replicas are used, and requests that go to one that has gone are answered by others."""
    with (
        Upstream("127.0.0.2", body=squared).running() as first,
        Upstream("127.0.0.3", first.port, body=squared).running() as second,
    ):
        proxy = proxy_to(first.port, "127.0.0.2")
        with Load(proxy.port) as load:
            load.wait_for_more(50)
            assert not second.asked
            proxy.names("127.0.0.2", "127.0.0.3")
            wait_until(lambda: len(second.asked) > 50)
            proxy.names("127.0.0.3")
            wait_until(lambda: "127.0.0.2" not in proxy.replicas)
            load.wait_for_more(50)
            before = len(first.asked)
            load.wait_for_more(50)
            assert len(first.asked) == before
        assert not load.failures, load


def test_failed_lookup_changes_nothing(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """While nobody has the app's name, the last known replicas are tried."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    before = proxy.replicas
    proxy.names()
    looked_up = proxy.lookups
    wait_until(lambda: proxy.lookups >= looked_up + 2)
    assert requests.get(url(proxy), timeout=10).status_code == 200
    assert proxy.replicas == before


def test_it_stops_and_leaves_nothing(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """SIGQUIT, which the engine sends, ends it with exit code 0, and the follower with it."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    assert proxy.processes()
    assert proxy.stop() == 0
    wait_until(lambda: not proxy.processes())


def test_list_that_cannot_be_written_is_written_later(
    proxy_to: ProxyTo, upstream: Upstream
) -> None:
    """A full disk does not end the loop that follows the replicas."""
    proxy = proxy_to(upstream.port, "127.0.0.2")
    obstacle = proxy.directory / "replicas.conf.new"
    obstacle.mkdir()
    proxy.names("127.0.0.1")
    looked_up = proxy.lookups
    wait_until(lambda: proxy.lookups >= looked_up + 2)
    assert "127.0.0.2" in proxy.replicas
    obstacle.rmdir()
    wait_until(lambda: requests.get(url(proxy), timeout=10).status_code == 200)


def test_follower_ends_with_nginx(proxy_to: ProxyTo, upstream: Upstream) -> None:
    """The loop that looks names up does not outlive an nginx that was killed."""
    proxy = proxy_to(upstream.port, "127.0.0.1")
    assert proxy.processes("nginx/start")
    proxy.kill()
    wait_until(lambda: not proxy.processes("nginx/start"))
