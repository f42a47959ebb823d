"""Whether the service on HOST and PORT answers: ``python -m service.healthcheck``.

For the health check of a container. It imports little, since it is started every few seconds.
"""

import os
import socket
import sys
import threading
from collections.abc import Mapping

from service.config import ConfigError, load_env, read_port, trusted_hosts

TIMEOUT_SECONDS = 2.0
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask who listens there


def main() -> int:
    """Ask, say what is wrong, and return the exit code."""
    found: list[str] = []
    # A thread, since nothing else bounds the time that looking up HOST may take, too.
    asking = threading.Thread(target=lambda: found.append(ask()), daemon=True)
    asking.start()
    asking.join(TIMEOUT_SECONDS)
    wrong = found[0] if found else f"no answer within {TIMEOUT_SECONDS:g} s"
    if wrong:
        print(f"unhealthy: {wrong}", flush=True)
    return 1 if wrong else 0


def ask(environ: Mapping[str, str] = os.environ) -> str:
    """Return what is wrong, nothing if all is well."""
    try:
        load_env()
        host = environ.get("HOST") or "127.0.0.1"
        address = (WILDCARDS.get(host, host), read_port(environ))
        host_field = _host_field(address, trusted_hosts(environ))
    except ConfigError as error:
        return str(error)
    try:
        with socket.create_connection(address, TIMEOUT_SECONDS) as connection:
            answer = request(connection, host_field)
    except (OSError, UnicodeError) as error:
        return f"{address[0]}, port {address[1]}: {getattr(error, 'strerror', None) or error}"
    is_well = answer.startswith("HTTP/1.") and answer.split()[1:2] == ["200"]
    return "" if is_well else f"it answers {answer!r}"


def _host_field(address: tuple[str, int], trusted: list[str] | None) -> str:
    if trusted:
        return trusted[0].removeprefix(".")
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def request(connection: socket.socket, host: str) -> str:
    """Ask for /healthz; return the first line of the answer."""
    head = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode("ascii"))
    with connection.makefile("rb") as answer:
        return answer.readline(100).decode("latin-1").rstrip()


if __name__ == "__main__":
    sys.exit(main())
