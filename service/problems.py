"""Errors as RFC 9457 ``application/problem+json``."""

import json
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.response import Response as AnyResponse

MEDIA_TYPE = "application/problem+json"


def init_app(app: Flask) -> None:
    """Let every HTTP error of the application, also an unforeseen one, be a problem."""
    app.register_error_handler(HTTPException, from_exception)


def problem(status: int, detail: str) -> Response:
    """Return a problem of the type ``about:blank``, whose title is that of the status (4.2.1)."""
    body = {"status": status, "title": HTTPStatus(status).phrase, "detail": detail}
    return Response(json.dumps(body) + "\n", status, content_type=MEDIA_TYPE)


def from_exception(error: HTTPException) -> AnyResponse:
    """Return the problem for an error; what its headers say (``Allow`` for 405) stays."""
    if error.response is not None or error.code is None:
        return error.get_response()
    answer = problem(error.code, error.description or "")
    for name, value in error.get_headers():
        if name.lower() != "content-type":
            answer.headers.add(name, value)
    return answer
