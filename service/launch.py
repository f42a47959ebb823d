"""What ``make run`` can be told: HOST, PORT, WORKERS, THREADS, SERVER and DRAIN_SECONDS."""

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from service.config import ConfigError, drain_seconds, read_port, threads, whole_number

SERVERS = ("granian", "gunicorn")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: an IP address and a port."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @property
    def url(self) -> str:
        """The address for a client on this machine."""
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only shown
        return f"http://{Address(local.get(self.ip, self.ip), self.port)}"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start, where."""

    address: Address
    workers: int
    threads: int
    server: str
    drain_seconds: float


def read_launch(environ: Mapping[str, str] = os.environ) -> Launch:
    """Read the variables and check them, the address by listening there for a moment."""
    server = environ.get("SERVER") or SERVERS[0]
    if server not in SERVERS:
        raise ConfigError(f"SERVER is {server!r}; give {' or '.join(SERVERS)}")
    return Launch(
        address=read_address(environ),
        workers=whole_number(environ, "WORKERS", "2", most=256),
        threads=threads(environ),
        server=server,
        drain_seconds=drain_seconds(environ),
    )


def read_address(environ: Mapping[str, str] = os.environ) -> Address:
    """Read HOST and PORT and check that this machine can listen there."""
    host = environ.get("HOST") or "127.0.0.1"
    port = read_port(environ)
    try:
        family, *_, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"HOST is {host!r}, which is no address of this machine; give 127.0.0.1 for this "
            "machine alone, 0.0.0.0 for all its networks"
        ) from error
    _check_free(family, target, host, port)
    return Address(str(target[0]), port)


def _check_free(family: int, target: tuple[object, ...], host: str, port: int) -> None:
    # granian's workers share the port by SO_REUSEPORT, and so would a second service of this
    # user: without a word, each would get a part of the requests. This socket does not share.
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
            probe.listen()
        except OSError as error:
            remedy = {
                errno.EADDRINUSE: "is in use; stop what listens there, or give another PORT",
                errno.EACCES: "is not allowed to this user; give a PORT above 1023",
                errno.EADDRNOTAVAIL: "is not on this machine; give another HOST",
            }.get(error.errno or 0, f"cannot be listened on: {error.strerror}")
            raise ConfigError(f"HOST {host}, PORT {port} {remedy}") from error
