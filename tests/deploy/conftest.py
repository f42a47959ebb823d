"""Fixtures: an nginx with our configuration, and what stands behind it."""

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.deploy.proxy import Proxy
from tests.deploy.upstream import Upstream

needs_nginx = pytest.mark.skipif(
    not shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"),
    reason="nginx is not installed: make tools",
)


@pytest.fixture
def proxy_to() -> Iterator[Callable[..., Proxy]]:
    """Start nginx in front of the given addresses, all with the same port."""
    proxies: list[Proxy] = []

    def start(port: int, *addresses: str, changes: dict[str, str] | None = None) -> Proxy:
        proxies.append(Proxy(port, changes or {}))
        proxies[-1].names(*addresses)
        proxies[-1].start()
        return proxies[-1]

    try:
        yield start
    finally:
        for proxy in proxies:
            proxy.remove()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A running upstream."""
    with Upstream().running() as running:
        yield running
