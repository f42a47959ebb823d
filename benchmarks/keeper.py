"""Starts a server, and ends all of it when the benchmark ends, also when that was killed.

Run as a program of its own, with the server's command line as its arguments. It writes the
server's process id. The end of its standard input, which the system closes when the benchmark
is gone, is what it waits for.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

GRACE_SECONDS = 0.5


def main() -> None:
    """Keep one server."""
    # These come to all of the benchmark, which then ends, and so does the input. The server must
    # not inherit that they are ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    server = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
    )
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    while server.poll() is None and not select.select([sys.stdin], [], [], 0.5)[0]:
        pass
    end(server)


def end(server: subprocess.Popen[bytes]) -> None:
    """Ask it to end; then end it and its workers, which are of its process group."""
    server.send_signal(signal.SIGCONT)
    server.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


if __name__ == "__main__":
    main()
