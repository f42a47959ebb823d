"""An application that hands everything on to another server, with ``http_cached`` before it."""

import os

import urllib3
from flask import Flask, Response, request

from flask_larder import Cache
from service.worker import end_with

end_with(os.getppid(), drain_seconds=0.1)  # nothing outlives the tests

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]
# RFC 9110 section 7.6.1; and what each side measures for itself.
OF_THE_CONNECTION = {"connection", "host", "keep-alive", "te", "transfer-encoding", "upgrade"}

app = Flask(__name__)
app.config.update({name: value for name, value in os.environ.items() if name.startswith("CACHE_")})
cache = Cache(app)
upstream = urllib3.connection_from_url(os.environ["PROXY_ORIGIN"], maxsize=8, retries=False)


@app.get("/healthz")
def healthz() -> str:
    return "ok"


@app.route("/<path:_>", methods=METHODS)
@cache.http_cached()
def proxy(_: str) -> Response:
    sent = {
        name: value
        for name, value in request.headers.items()
        if name.lower() not in OF_THE_CONNECTION
    }
    query = request.environ["QUERY_STRING"]
    answer = upstream.urlopen(
        request.method,
        request.path + (f"?{query}" if query else ""),
        headers=sent,
        body=request.get_data() if request.method in {"POST", "PUT", "PATCH"} else None,
        decode_content=False,
        redirect=False,
        preload_content=False,
        timeout=5,
    )
    named = {name.strip().lower() for name in answer.headers.get("Connection", "").split(",")}
    body = answer.stream(65536) if request.method != "HEAD" else ()
    response = Response(body, status=answer.status)
    del response.headers["Content-Type"]
    for name, value in answer.headers.iteritems():
        if name.lower() not in OF_THE_CONNECTION | named:
            response.headers.add(name, value)
    return response


@app.errorhandler(urllib3.exceptions.HTTPError)
def unreachable(_: Exception) -> tuple[str, int]:
    return "The upstream did not answer.", 502
