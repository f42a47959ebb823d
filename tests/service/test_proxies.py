"""Whose forwarded header fields are believed: those of the proxies, and nobody else's."""

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from service import proxies
from service.config import ConfigError, trusted_proxies
from service.proxies import HostName, Peers, TrustedProxies
from tests.service.conftest import SERVERS
from tests.service.processes import Sandbox, Service, wait_until

Start = Callable[..., Service]

FORGED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Protocol": "ssl",
    "X-Forwarded-Ssl": "on",
    "X-Forwarded-Port": "444",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Scheme": "https",
    "X-Scheme": "https",
    "X-Real-Ip": "203.0.113.7",
    "Forwarded": 'for=203.0.113.7;host="evil.example";proto=https',
    "Script-Name": "/evil",
    "SCRIPT_NAME": "/evil",
    "PATH_INFO": "/evil",
    "REMOTE_ADDR": "203.0.113.7",
    "wsgi.url_scheme": "https",
}


def peers(text: str) -> Peers:
    """Return the peers of a setting."""
    return Peers(trusted_proxies({"TRUSTED_PROXIES": text}))


def seen(peer: str, trusted: str = "10.0.0.0/8", **fields: str) -> dict[str, Any]:
    """Return what an application sees of a request that this peer has sent."""
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.update(environ)
        return []

    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": "here", **fields}
    proxies = trusted_proxies({"TRUSTED_PROXIES": trusted})
    assert TrustedProxies(app, proxies)(environ, lambda *_: lambda _: None) == []
    return {name: value for name, value in seen.items() if name != "werkzeug.proxy_fix.orig"}


SAID = {
    "HTTP_X_FORWARDED_FOR": "203.0.113.7",
    "HTTP_X_FORWARDED_HOST": "there",
    "HTTP_X_FORWARDED_PROTO": "https",
}


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_proxy_is_believed(peer: str) -> None:
    """It says who asks, by which scheme and for which host."""
    environ = seen(peer, **SAID)
    assert environ["REMOTE_ADDR"] == "203.0.113.7"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTP_HOST"] == "there"


@pytest.mark.parametrize("peer", ["11.0.0.1", "::1", "::a01:203", "", "10.1.2.3.4", "nginx"])
def test_nobody_else_is_believed(peer: str) -> None:
    """What others say is removed."""
    environ = seen(peer, **SAID, HTTP_FORWARDED="for=x", HTTP_X_FORWARDED_PREFIX="/x")
    assert environ == {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": "here"}


def test_by_default_nobody_is_believed() -> None:
    """Not even this machine."""
    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1", ""):
        environ = seen(peer, trusted="", **SAID)
        assert environ == {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": "here"}


def test_only_what_the_proxy_added_is_believed() -> None:
    """It stands last: what comes before is what the client wrote."""
    environ = seen("10.1.2.3", **{name: f"forged, {value}" for name, value in SAID.items()})
    assert environ["REMOTE_ADDR"] == "203.0.113.7"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTP_HOST"] == "there"


def test_proxy_is_not_believed_everything() -> None:
    """Fields that it may hand on, and a scheme that is none."""
    environ = seen(
        "10.1.2.3",
        HTTP_X_FORWARDED_PROTO="javascript",
        HTTP_X_FORWARDED_PREFIX="/x",
        HTTP_X_FORWARDED_PORT="1",
        HTTP_FORWARDED="host=x;proto=https",
    )
    assert environ == {"REMOTE_ADDR": "10.1.2.3", "wsgi.url_scheme": "http", "HTTP_HOST": "here"}


@pytest.mark.parametrize(
    ("setting", "inside", "outside"),
    [
        ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1", "::7f00:1"]),
        ("::1", ["::1"], ["127.0.0.1", "::2"]),
        (" 10.0.0.0/8 , 192.168.0.0/16,", ["10.9.9.9", "192.168.1.1"], ["192.169.1.1", "11.0.0.1"]),
        ("fd00::/8", ["fd12::1"], ["fe80::1", "10.0.0.1"]),
        ("::ffff:10.0.0.0/104", ["10.1.1.1", "::ffff:10.1.1.1"], ["11.1.1.1"]),
        ("0.0.0.0/0", ["8.8.8.8"], ["::1"]),
        ("", [], ["127.0.0.1"]),
        (",", [], ["127.0.0.1"]),
    ],
)
def test_addresses_and_networks(setting: str, inside: list[str], outside: list[str]) -> None:
    """Both versions of IP, and one in the other."""
    assert all(peer in peers(setting) for peer in inside)
    assert not any(peer in peers(setting) for peer in outside)


@pytest.mark.parametrize(
    "text",
    [
        *("*", "nginx:80", "http://nginx", "10.0.0.1/8", "10.0.0.0/33", "300.1.1.1", "127.1"),
        *("0x7f.1", "2130706433", "a b", "a..b", "-a", "a" * 64, "[::1]", "ä", "a\nb"),
    ],
)
def test_setting_is_checked(text: str) -> None:
    """The error names the value, and what may stand there."""
    with pytest.raises(ConfigError, match="TRUSTED_PROXIES has") as caught:
        trusted_proxies({"TRUSTED_PROXIES": f"10.0.0.1,{text}"})
    assert repr(text) in str(caught.value)
    assert "give IP addresses, networks such as 10.0.0.0/8, and host names" in str(caught.value)


class NameService:
    """A name service that a test can change, and make slow, and a clock."""

    def __init__(self) -> None:
        self.addresses = ["10.0.0.1"]
        self.now = 1000.0
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def resolve(self, name: str) -> frozenset[IPv4Address | IPv6Address]:
        self.asked += 1
        assert self.answers.wait(30)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return frozenset(map(ip_address, self.addresses))

    def host(self) -> HostName:
        return HostName("nginx", self.resolve, lambda: self.now)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterable[NameService]:
    """A name service that is asked again and again without a pause."""
    monkeypatch.setattr(proxies, "REFRESH_SECONDS", 0.01)
    names = NameService()
    yield names
    names.answers.set()
    monkeypatch.setattr(proxies, "REFRESH_SECONDS", 3600.0)  # the threads of the test sleep then


def test_name_is_looked_up_again(names: NameService, caplog: pytest.LogCaptureFixture) -> None:
    """A container that comes back has another address; the one it had is not its own any more."""
    caplog.set_level(logging.INFO, "service")
    host = names.host()
    assert host.addresses() == {ip_address("10.0.0.1")}
    names.addresses = ["10.0.0.2", "fd00::2"]
    wait_until(lambda: host.addresses() == {ip_address("10.0.0.2"), ip_address("fd00::2")})
    names.addresses = []
    wait_until(lambda: host.addresses() == frozenset())
    assert caplog.messages == [
        "The trusted proxy nginx is 10.0.0.1",
        "The trusted proxy nginx is 10.0.0.2, fd00::2",
        "The trusted proxy nginx is not found: nobody is trusted by it",
    ]


def test_name_service_that_hangs_holds_no_request_up(names: NameService) -> None:
    """What it said last counts for a while, then nothing."""
    host = names.host()
    assert host.addresses() == {ip_address("10.0.0.1")}
    names.answers.clear()
    asked = names.asked
    wait_until(lambda: names.asked > asked)
    names.now += 4.9
    assert host.addresses() == {ip_address("10.0.0.1")}
    names.now += 1
    assert host.addresses() == frozenset()
    names.answers.set()
    wait_until(lambda: host.addresses() == {ip_address("10.0.0.1")})


def test_first_requests_wait_for_the_first_look_up(names: NameService) -> None:
    """All together half a second at most, and by default none at all."""
    names.answers.clear()
    host = HostName("nginx", names.resolve)
    assert host.addresses() == frozenset()
    assert names.asked == 1
    names.now = 0.0
    late = HostName("late", names.resolve, lambda: names.now)
    late.addresses()  # starts the thread
    names.now = 0.6
    for _ in range(1000):
        assert late.addresses() == frozenset()


def test_no_name_is_looked_up_for_a_request(names: NameService) -> None:
    """However many unknown peers ask: else they could keep the name service busy."""
    host = names.host()
    host.addresses()
    names.answers.clear()
    asked = names.asked
    wait_until(lambda: names.asked > asked)
    for _ in range(1000):
        assert ip_address("8.8.8.8") not in host.addresses()
    assert names.asked == asked + 1


def test_resolve() -> None:
    """The system's own way of looking up, which reads /etc/hosts, too."""
    assert ip_address("127.0.0.1") in proxies.resolve("localhost")
    with pytest.raises(OSError, match=r"not known|resolution"):
        proxies.resolve("nowhere.invalid")


def key_of(service: Service, path: str) -> list[str]:
    """Return the keys of the entries for a path."""
    with service.store() as store:
        return sorted(key.decode() for key in store.scan_iter(f"*{path}"))


def host_of(service: Service) -> str:
    return service.url.removeprefix("http://")


def test_forged_fields_change_nothing(service: Service, number: int) -> None:
    """Neither the key nor the client in the log, and the entry is found by everybody."""
    path = f"/square/{number}"
    for name, value in FORGED.items():
        assert service.get(path, headers={name: value}).json() == {"computed": number**2}
    assert service.get(path, headers=FORGED).headers["Cache-Status"].startswith("larder; hit")
    assert service.get(path).headers["Cache-Status"].startswith("larder; hit")
    assert key_of(service, path) == [f"flask_cache_larder1:view/http://{host_of(service)}{path}"]
    assert service.lines("203.0.113.7") == []


@pytest.mark.parametrize("server", SERVERS)
def test_behind_a_proxy(start: Start, server: str) -> None:
    """What the proxy says selects: the host, the scheme, and who asks.

    On a socket for both versions of IP the proxy shows as ::ffff:127.0.0.1.
    """
    service = start(SERVER=server, HOST="::", TRUSTED_PROXIES="10.1.2.3, localhost")
    said = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7", "X-Forwarded-Host": "a.example"}
    for proto in ("http", "https"):
        for outcome in ("larder; fwd=uri-miss", "larder; hit"):
            answer = service.get("/square/5", headers={**said, "X-Forwarded-Proto": proto})
            assert answer.headers["Cache-Status"].startswith(outcome)
    assert key_of(service, "/square/5") == [
        "flask_cache_larder1:view/http://a.example/square/5",
        "flask_cache_larder1:view/https://a.example/square/5",
    ]
    wait_until(lambda: len(service.lines(": 203.0.113.7 GET /square/5 200")) == 4)
    assert service.lines("6.6.6.6") == []
    # What no proxy of ours is meant to say is no more believed than before.
    service.get("/square/6", headers={"Forwarded": "host=evil;proto=https", "Script-Name": "/e"})
    assert key_of(service, "/square/6") == [
        f"flask_cache_larder1:view/http://{host_of(service)}/square/6"
    ]


@pytest.mark.parametrize("server", SERVERS)
def test_peer_that_is_no_proxy(start: Start, server: str) -> None:
    """It is not believed, where others are."""
    service = start(SERVER=server, TRUSTED_PROXIES="127.0.0.2, nowhere.invalid, 10.0.0.0/8, ::1")
    test_forged_fields_change_nothing(service, 77)


def test_absolute_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """They name the host and the scheme that a proxy says, and none that others say."""
    from flask import url_for

    from service.app import create_app

    monkeypatch.setenv("CACHE_TYPE", "NullCache")
    app = create_app()
    app.add_url_rule("/link", view_func=lambda: url_for("index", _external=True))
    app.wsgi_app = TrustedProxies(app.wsgi_app, trusted_proxies({"TRUSTED_PROXIES": "10.0.0.1"}))  # type: ignore[method-assign]

    def link(peer: str) -> str:
        return (
            app.test_client().get("/link", headers=FORGED, environ_base={"REMOTE_ADDR": peer}).text
        )

    assert link("10.0.0.1") == "https://evil.example/"
    assert link("10.0.0.2") == "http://localhost/"


def test_wrong_setting_ends_the_launcher(sandbox: Sandbox) -> None:
    """Before anything listens."""
    sandbox.environ["TRUSTED_PROXIES"] = "nginx, 10.0.0.1/8"
    code, output = sandbox.run("service")
    assert code == 2
    assert re.fullmatch(r"error: TRUSTED_PROXIES has '10\.0\.0\.1/8'; give [^\n]*\n", output)
    assert sandbox.is_empty()
