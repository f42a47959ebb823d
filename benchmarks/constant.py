"""A WSGI app that returns the same for everything: the limit of the server that runs it.

``BENCH_ANSWER`` names a JSON file with the header fields and the body, which are those of a hit of
Flask-Larder.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_answer = json.loads(Path(os.environ["BENCH_ANSWER"]).read_text("utf-8"))
FIELDS = [(name, value) for name, value in _answer["fields"]]
BODY = [_answer["body"].encode()]


def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:  # noqa: ARG001
    """Answer."""
    start_response("200 OK", FIELDS)
    return BODY
