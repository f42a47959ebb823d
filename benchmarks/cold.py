"""Work (e): two hundred callers on one cold key."""

import selectors
import socket
import time
from collections.abc import Sequence

from benchmarks import servers
from benchmarks.client import parse_head
from benchmarks.contenders import Contender, named
from benchmarks.notebook import Notebook, say
from benchmarks.rounds import Effort, interleaved
from benchmarks.stage import Running, Stage, WrongAnswerError

CALLERS = 200
TIMEOUT_SECONDS = 60
GUNICORN = ("--worker-class", "gthread", "--threads", str(servers.CROWD_THREADS))
WHO: Sequence[Contender] = named("larder", "caching", "larder-gunicorn", "caching-gunicorn")


def run(notebook: Notebook, effort: Effort) -> None:
    """Measure."""
    with Stage(notebook, gunicorn_class=GUNICORN) as stage:
        running = stage.start(WHO, threads=servers.CROWD_THREADS)
        for number, each in enumerate(interleaved(running, effort.rounds)):
            say(f"(e) {each.name}")
            _rush(notebook, each, f"/slow/{number}")


def _rush(notebook: Notebook, each: Running, path: str) -> None:
    runs = each.runs()
    seconds = crowd(each.port, path, CALLERS)
    ran = each.runs() - runs
    if ran < 1:
        raise WrongAnswerError(f"{each.name}: the view has not run, or the worker was replaced")
    notebook.add("e", each.name, view_runs=ran, last_answer_ms=max(seconds) * 1e3)


def crowd(port: int, path: str, count: int) -> list[float]:
    """Let so many ask at once, over connections that stand; seconds until each had its answer."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    try:
        began = time.perf_counter()
        for connection in connections:
            connection.sendall(request)
        return _last_bytes(connections, began)
    finally:
        for connection in connections:
            connection.close()


def _last_bytes(connections: Sequence[socket.socket], began: float) -> list[float]:
    data = dict.fromkeys(connections, b"")
    seconds: list[float] = []
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ, connection)
        while len(seconds) < len(connections):
            ready = selector.select(began + TIMEOUT_SECONDS - time.perf_counter())
            if not ready:
                raise WrongAnswerError(f"{len(connections) - len(seconds)} have got no answer")
            for connection in (key.data for key, _ in ready):
                data[connection] += (more := connection.recv(65536))
                if not more or is_complete(data[connection]):
                    seconds.append(time.perf_counter() - began)
                    selector.unregister(connection)
                    connection.close()  # gunicorn waits for that, before it accepts another
    if wrong := [each for each in data.values() if not _is_right(each)]:
        raise WrongAnswerError(f"{len(wrong)} were not answered with 200: {wrong[0][:200]!r}")
    return seconds


def is_complete(data: bytes) -> bool:
    """Whether that is a whole response, by its Content-Length."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    fields = {name.lower(): value for name, value in parse_head(head)[1]}
    return len(body) >= int(fields["content-length"])


def _is_right(data: bytes) -> bool:
    return data.startswith(b"HTTP/1.1 200 ") and is_complete(data)
