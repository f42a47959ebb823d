"""Send the part of a response that the client wants, and not the whole."""

import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from flask import Response, request
from werkzeug.datastructures import Headers

from flask_larder.environ import EnvironFields
from flask_larder.ranges import Part, Unsatisfiable, wanted_part

# What tells of the content that is sent (RFC 9530), and would be that of the whole.
_OF_THE_CONTENT: Final = frozenset({"content-digest", "content-md5"})

# What tells of the representation, or for how long to keep it: the error is about neither.
_OF_THE_WHOLE: Final = _OF_THE_CONTENT | {
    "age",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-type",
    "digest",
    "edge-control",
    "etag",
    "expires",
    "last-modified",
    "repr-digest",
    "surrogate-control",
    "x-accel-expires",
}


def apply_range(response: Response, now: float, made_at: float | None) -> None:
    """Make a 206 or 416 of the *response*, where the client wants a part of it.

    *made_at* is when a stored response was made, both in seconds since the epoch. A body whose
    length is not known is sent whole.
    """
    client = EnvironFields(request.environ)
    if request.method != "GET" or response.status_code != 200 or client.get("range") is None:
        return
    length, fields = _length_of(response), response.headers.to_wsgi_list()
    if length is None:
        return
    found = wanted_part(client, fields, length, now, made_at)
    if isinstance(found, Part):
        _send_part(response, found)
    elif found is not None:
        _refuse(response, found)


def _length_of(response: Response) -> int | None:
    """How many bytes the whole has, where that is known.

    A body in memory that has another length than it says is put in place later, as by a server that
    knows ``X-Sendfile`` and judges the range itself.
    """
    said = response.content_length
    if not response.is_sequence:
        return said
    length = sum(map(len, response.iter_encoded()))
    return length if said in {None, length} else None


def _send_part(response: Response, part: Part) -> None:
    _cut(response, part.first, part.last - part.first + 1)
    response.status_code = 206
    response.headers["Content-Range"] = str(part)
    _remove(response.headers, _OF_THE_CONTENT)
    _ask_for_no_more()


def _refuse(response: Response, unsatisfiable: Unsatisfiable) -> None:
    """Say 416. No cache on the way may keep that for those who want the whole."""
    _cut(response, 0, 0)
    response.status_code = 416
    fields = response.headers
    controls = {name.lower() for name, _ in fields if name.lower().endswith("cache-control")}
    _remove(fields, _OF_THE_WHOLE | controls)
    fields["Cache-Control"] = "no-store"
    fields["Content-Range"] = str(unsatisfiable)


def _remove(fields: Headers, names: Iterable[str]) -> None:
    for name in names:
        fields.remove(name)


def _ask_for_no_more() -> None:
    """Keep functions that run later from compressing the part, and from cutting it again.

    A range counts the bytes of what is encoded (RFC 9110 section 14.1.2), and so a part that is
    encoded by itself fits no other.
    """
    request.environ["HTTP_ACCEPT_ENCODING"] = "identity"
    for name in ("HTTP_RANGE", "HTTP_IF_RANGE"):
        request.environ.pop(name, None)
    for name in ("accept_encodings", "if_range", "range"):
        request.__dict__.pop(name, None)


def _cut(response: Response, first: int, size: int) -> None:
    """Leave *size* bytes of the body from *first* on."""
    if response.is_sequence:
        response.set_data(response.get_data()[first : first + size])
    else:
        response.response = _Excerpt(response.response, response.iter_encoded(), first, size)
    response.content_length = size


class _Excerpt:
    """Some bytes of a body that comes in *chunks*, of which no others are kept.

    Werkzeug has such a class for its own use. It closes the iterator rather than the body.
    """

    def __init__(self, body: Any, chunks: Iterator[bytes], first: int, size: int) -> None:
        self._body = body
        self._chunks = chunks
        self._first = first
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        skip, left = _wind(self._body, self._first), self._size
        while left and (chunk := next(self._chunks, None)) is not None:
            piece = chunk[skip : skip + left]
            skip = max(0, skip - len(chunk))
            left -= len(piece)
            if piece:
                yield piece

    def close(self) -> None:
        """Close the whole body."""
        if hasattr(self._body, "close"):
            self._body.close()


def _wind(body: Any, size: int) -> int:
    """Go *size* bytes forward in *body* where that is a file; how many are left to be read over.

    Servers that have a wrapper of their own for files, as gunicorn has, call what is in it
    ``filelike``.
    """
    file = getattr(body, "filelike", body)
    with suppress(AttributeError, OSError, ValueError):
        if file.seekable():
            file.seek(size, io.SEEK_CUR)
            return 0
    return size
