"""Responses for Flask, made of what is stored."""

from collections.abc import Iterable

from flask import Flask, Response
from werkzeug.datastructures import Headers


def response_of(
    app: Flask, status: int | str, fields: Iterable[tuple[str, str]], body: bytes
) -> Response:
    """A response of the class that *app* has.

    Its class may add fields, or make something of a body: what is stored has been through that.
    """
    pairs = list(fields)
    response = app.response_class(None, status=status, headers=_headers_of(pairs))
    response.headers, response.response = _headers_of(pairs), [body]
    return response


def _headers_of(pairs: list[tuple[str, str]]) -> Headers:
    """*pairs* for Werkzeug, which would look again at each whether it is well-formed."""
    headers = Headers()
    own = vars(headers).get("_list")
    if not isinstance(own, list):  # another Werkzeug
        return Headers(pairs)
    own.extend(pairs)
    return headers
