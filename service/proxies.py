"""Who asks, for which host and by which scheme, where proxies stand in front of the service."""

import functools
import ipaddress
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

IPAddress = IPv4Address | IPv6Address
Proxy = IPv4Network | IPv6Network | str

REFRESH_SECONDS = 1.0  # between two look-ups of a name
LONGEST_SECONDS = 5.0  # that an address is believed, should the next look-up take its time
FIRST_SECONDS = 0.5  # that the first requests of a process wait for the first look-up

BELIEVED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO")
NEVER_BELIEVED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PREFIX")
SCHEMES = ("http", "https")

logger = logging.getLogger("service")


class TrustedProxies:
    """WSGI middleware that believes the forwarded fields of these proxies, and of nobody else.

    Scheme and host select among the stored responses, and stand in absolute links: anybody who
    could choose them would choose what others are served. Whoever is not a proxy has the fields
    removed, so that nothing further inside meets them by accident.
    """

    def __init__(self, app: "WSGIApplication", proxies: Iterable[Proxy]) -> None:
        self._app = app
        self._behind_proxy = ProxyFix(app, x_for=1, x_proto=1, x_host=1)
        self._peers = Peers(proxies)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        for name in NEVER_BELIEVED:
            environ.pop(name, None)
        if environ.get("REMOTE_ADDR", "") in self._peers:
            if not _is_scheme(environ.get("HTTP_X_FORWARDED_PROTO", "")):
                environ.pop("HTTP_X_FORWARDED_PROTO", None)
            return self._behind_proxy(environ, start_response)
        for name in BELIEVED:
            environ.pop(name, None)
        return self._app(environ, start_response)


def _is_scheme(forwarded: str) -> bool:
    # A proxy that does not set the field hands on what its client wrote.
    return forwarded.rpartition(",")[2].strip() in SCHEMES


class Peers:
    """The addresses of the proxies: some are given, some are those of names, as of now."""

    def __init__(self, proxies: Iterable[Proxy]) -> None:
        given = tuple(proxies)
        self._networks = tuple(proxy for proxy in given if not isinstance(proxy, str))
        self._names = tuple(HostName(proxy) for proxy in given if isinstance(proxy, str))

    def __contains__(self, peer: str) -> bool:
        address = parse_address(peer)
        if address is None:
            return False
        return any(address in network for network in self._networks) or any(
            address in name.addresses() for name in self._names
        )


@functools.lru_cache(maxsize=1024)
def parse_address(text: str) -> IPAddress | None:
    """Return an IP address; a socket for both versions of IP shows those of version 4 mapped."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def resolve(name: str) -> frozenset[IPAddress]:
    """Look a name up; it may take long."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    addresses = (parse_address(str(target[0])) for *_, target in found)
    return frozenset(address for address in addresses if address)


class HostName:
    """A name, and its addresses as they are now: containers come and go.

    A thread looks it up again and again, so that no request waits for the name service, and none
    can make it busy. A name that is not found has no address.
    """

    def __init__(
        self,
        name: str,
        resolve: Callable[[str], frozenset[IPAddress]] = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._resolve = resolve
        self._clock = clock
        self._lock = threading.Lock()
        self._pid = 0  # of the process whose thread looks it up: servers fork
        self._looked_up = threading.Event()
        self._patient_until = 0.0
        self._last: tuple[frozenset[IPAddress], float] | None = None  # what was found, and when

    def addresses(self) -> frozenset[IPAddress]:
        """Return its addresses, without waiting except in the first moment of a process."""
        if self._pid != os.getpid():
            self._begin()
        if not self._looked_up.is_set():
            self._looked_up.wait(self._patient_until - self._clock())
        found, when = self._last or (frozenset(), -math.inf)
        return found if self._clock() - when <= LONGEST_SECONDS else frozenset()

    def look_up(self) -> None:
        """Look it up once."""
        try:
            found = self._resolve(self.name)
        except Exception:  # noqa: BLE001 - whatever it is, the next look-up may go well
            found = frozenset()
        if self._last is None or found != self._last[0]:
            shown = ", ".join(sorted(map(str, found))) or "not found: nobody is trusted by it"
            logger.info("The trusted proxy %s is %s", self.name, shown)
        self._last = found, self._clock()

    def _begin(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            self._looked_up = threading.Event()
            self._patient_until = self._clock() + FIRST_SECONDS
            self._last = None
            thread = threading.Thread(target=self._keep_looking_up, daemon=True)
            thread.name = f"look-up-{self.name}"
            thread.start()
            self._pid = os.getpid()

    def _keep_looking_up(self) -> None:
        while True:
            self.look_up()
            self._looked_up.set()
            time.sleep(REFRESH_SECONDS)
