"""One log line for each request, also for those that are answered before Flask."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from service.logs import escape

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

STATUS_KEY = "flask_larder.status"  # where the cache leaves its outcome
LONGEST_TARGET = 2000  # characters; a URL can be far longer

logger = logging.getLogger("service.access")


class AccessLog:
    """WSGI middleware that logs client, method, path, query, status, duration and cache outcome.

    It logs when the application returns: the answer is then on its way, and what it returned goes
    to the server as it is, which sends a list in a single write. Only a body whose length nobody
    has said is a stream that may take its time, and may fail: its line waits for its end.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request, and log it."""
        exchange = _Exchange(environ, start_response)
        try:
            body = self._app(environ, exchange.start)
        except BaseException:
            exchange.log(failed=True)
            raise
        if exchange.is_decided(body):
            exchange.log()
            return body
        return _LoggedStream(body, exchange)


class _Exchange:
    """A request and what is known of its answer."""

    __slots__ = ("_began", "_environ", "_has_length", "_start_response", "_status")

    def __init__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> None:
        self._began = time.perf_counter()
        self._environ = environ
        self._start_response = start_response
        self._status = ""
        self._has_length = False

    def start(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        self._status = status[:3]
        self._has_length = any(name.lower() == "content-length" for name, _ in headers)
        return self._start_response(status, headers, *exc_info)

    def is_decided(self, body: Iterable[bytes]) -> bool:
        if not self._status:
            return False
        return self._has_length or isinstance(body, list | tuple) or self._is_bodiless()

    def _is_bodiless(self) -> bool:
        return self._environ["REQUEST_METHOD"] == "HEAD" or self._status in {"204", "304"}

    def log(self, *, failed: bool = False) -> None:
        duration_ms = (time.perf_counter() - self._began) * 1000
        logger.info(
            "%s %s %s %s %.1fms %s",
            _visible(self._environ.get("REMOTE_ADDR", "")) or "-",  # as a trusted proxy says it
            _visible(self._environ["REQUEST_METHOD"]),
            _target(self._environ),
            "500" if failed else self._status or "-",
            duration_ms,
            escape(str(self._environ.get(STATUS_KEY, "-"))),
        )


class _LoggedStream:
    """A streamed body; logs when it has ended or was abandoned."""

    def __init__(self, body: Iterable[bytes], exchange: _Exchange) -> None:
        self._body = body
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            if close := getattr(self._body, "close", None):
                close()
        finally:
            self._exchange.log()


def _target(environ: "WSGIEnvironment") -> str:
    query = environ.get("QUERY_STRING", "")
    target = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    shown = _visible(target, safe="/") + (f"?{_visible(query)}" if query else "")
    return shown if len(shown) <= LONGEST_TARGET else f"{shown[:LONGEST_TARGET]}…"


def _visible(text: str, safe: str = "%/?") -> str:
    """Percent-encode all that is not plain, so that a client cannot write its own log lines."""
    return quote(text.encode("latin-1", "replace"), safe=safe + "!$&'()*+,;=:@[]|")
