"""Run a view, and show the engine what it answered without taking it away from Flask."""

from collections.abc import Callable, Iterator
from functools import cached_property
from operator import attrgetter
from time import perf_counter
from typing import Any, Final

from flask import Response, current_app
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from flask_larder.codec import encode_value
from flask_larder.conditional import entity_tag_of
from flask_larder.entry import Reads, Targets
from flask_larder.errors import UnstorableValue
from flask_larder.flask.responses import copied, fields_of, forget_told, tell
from flask_larder.headers import Fields
from flask_larder.policy import SERVER_ERRORS, Reason

_IS_FILE: Final = "_flask_larder_is_file"


class ViewAnswer:
    """What a view answered: an :class:`~flask_larder.entry.Forwarded` for the engine.

    *returned* is what Flask is to get: what the view returned, so that a decorator around the
    cache sees the same as without it. Where there is none, or a stream had to be read, it is the
    response made of it. *raised* is the error by which the view answered; *value* is then what
    the app makes of that. It *began* then, by ``perf_counter``. *reads* tells what the view has
    looked at, and *targets* by what purges it is hit; *refusal*, why the developer does not want it
    stored; *is_outermost*, that no decorator stands around the cache.
    """

    def __init__(
        self,
        value: Any,
        raised: Exception | None,
        reads: Callable[[], Reads],
        *,
        began: float,
        targets: Callable[[], Targets],
        refusal: Reason | None,
        is_outermost: bool,
    ) -> None:
        self._began = began
        self.returned = value
        self.made: Response | None = None  # where Flask gets that
        self.is_own = False  # and nobody else has it
        self.raised = raised
        self.reads = reads
        self.targets = targets
        self._refusal = refusal
        self._is_outermost = is_outermost

    @cached_property
    def _response(self) -> Response | None:
        """The response that Flask will make of it, or ``None`` where it will not manage to."""
        try:
            response = current_app.make_response(self.returned)
        except (TypeError, ValueError):
            return None
        if response is self.returned and forget_told(response):
            response = copied(response)  # the app keeps it, and has sent it before
        if self._is_outermost and not self.raised:
            self.is_own = response is not self.returned
            self.returned = self.made = response
        return response

    @property
    def failure(self) -> str:
        """How it fails, for the log."""
        return f"{self.status}" if self.raised is None else f"{self.status}, {self.raised!r}"

    def close(self) -> None:
        """Close the response, which nobody gets, if it was made."""
        response: Response | None = vars(self).get("_response")
        if response is not None:
            response.close()

    def cost(self) -> float:
        """For how long it has been made until now, in seconds."""
        return perf_counter() - self._began

    def value(self) -> bytes | None:
        """What the view returned, encoded, if a decorator is to get it again on a hit."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes | None:
        if self._is_outermost or isinstance(self.returned, WerkzeugResponse):
            return None
        return encode_value(self.returned)

    @property
    def refusal(self) -> Reason | None:
        """Why it is not to be stored, beside what the policy says."""
        if self._refusal is not None:
            return self._refusal
        if self._response is None:
            return "not-a-response"
        if _is_sent_its_own_way(self._response):
            return "response-class"
        return None if self._is_outermost or self._has_value() else "not-plain-data"

    def _has_value(self) -> bool:
        try:
            self.value()
        except UnstorableValue:
            return False
        return True

    @cached_property
    def unsaid(self) -> frozenset[str]:
        """What Flask says of files by itself: ``public``, wherever they have an age."""
        response = self._response
        is_file = response is not None and (
            response.direct_passthrough or _IS_FILE in vars(response)
        )
        return frozenset({"public"}) if is_file else frozenset()

    @property
    def status(self) -> int:
        """The status code; 500 where there is no response."""
        return SERVER_ERRORS if self._response is None else self._response.status_code

    @property
    def fields(self) -> Fields:
        """The header fields."""
        if self._response is None:
            return ()
        return fields_of(self._response).to_wsgi_list()

    def read_body(self, limit: int) -> bytes | None:
        """The whole body, or ``None`` where it is longer than *limit* bytes.

        A response that has no validator gets one, made of that.
        """
        body = self._whole_body(limit)
        if body is not None and self._is_outermost and not self.raised and self.status == 200:
            assert self._response is not None  # noqa: S101 - it has a status
            headers = self._response.headers
            # Werkzeug would raise and catch an error to tell that it is not there.
            if "etag" not in {name.lower() for name, _ in headers}:
                tell(self._response, [("ETag", entity_tag_of(body))])
        return body

    def _whole_body(self, limit: int) -> bytes | None:
        response = self._response
        if response is None:
            return None
        if response.is_sequence and not response.direct_passthrough:
            body = response.get_data()
            return body if len(body) <= limit else None
        if (response.content_length or 0) > limit:
            return None
        self.returned = response
        return _collect(response, limit)


def is_application(value: Any) -> bool:
    """Whether Flask runs what a view has returned as a WSGI application, to have a response."""
    made = value[0] if isinstance(value, tuple) and value else value
    if isinstance(made, str | bytes | bytearray | dict | list | WerkzeugResponse):
        return False
    return callable(made) and type(made).__module__ != HTTPException.__module__


_is_sent: Final = attrgetter("__call__", "get_wsgi_headers", "get_app_iter", "get_wsgi_response")


def _is_sent_its_own_way(response: WerkzeugResponse) -> bool:
    """Whether its class makes more of it when it is sent than the one that hits are made of."""
    own = _is_sent(type(response))
    return own not in (_is_sent(WerkzeugResponse), _is_sent(current_app.response_class))


def _collect(response: Response, limit: int) -> bytes | None:
    """Read the stream; what has been read is sent in any case, and the rest still streams."""
    stream = response.response
    chunks: list[bytes] = []
    size = 0
    rest = iter(response.iter_encoded())
    try:
        for chunk in rest:
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                response.response = _Resumed(chunks, rest, stream)
                return None
    except BaseException:
        response.response = ()
        _close(stream)
        raise
    _close(stream)
    body = b"".join(chunks)
    if response.direct_passthrough:
        vars(response)[_IS_FILE] = True  # for another cache around this one
    response.direct_passthrough = False
    response.response = [body]
    if response.content_length is None:
        response.content_length = len(body)
    return body


class _Resumed:
    """A stream of which the beginning has already been read."""

    def __init__(self, chunks: list[bytes], rest: Iterator[bytes], stream: Any) -> None:
        self._chunks = chunks
        self._rest = rest
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        self._chunks.clear()
        yield from self._rest

    def close(self) -> None:
        """Close what the view made, as the server would have done."""
        _close(self._stream)


def _close(stream: Any) -> None:
    if hasattr(stream, "close"):
        stream.close()
