"""``make dev``: Flask's development server, which reloads what was edited."""

import ipaddress
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING

from werkzeug.serving import WSGIRequestHandler, is_running_from_reloader, run_simple
from werkzeug.wrappers import Response

from service.worker import end_with

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# This module is loaded by two processes. The first opens the store, and starts the second anew
# whenever a file has changed. The second serves. It imports the rest of the service only in
# `load`, so that an error that was just typed does not end it: the next edit is noticed, too.
# ruff: noqa: PLC0415

BROKEN = Response("The service does not load. Its log has the traceback; correct it.\n", 500)


class _QuietHandler(WSGIRequestHandler):
    """The service has an access log of its own."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main() -> int:
    """Run the development server; return the exit code."""
    if is_running_from_reloader():
        end_with(os.getppid())
        serve(os.environ["LARDER_DEV_IP"], int(os.environ["LARDER_DEV_PORT"]))
        return 0
    return supervise()


def supervise() -> int:
    """Open the store and keep the serving process running."""
    from service import logs, store
    from service.config import ConfigError, load_env
    from service.launch import read_address
    from service.state import announced

    logs.configure()
    if "--with-parent" in sys.argv:
        end_with(os.getppid())
    try:
        load_env()
        address = read_address()
        os.environ |= {"LARDER_DEV_IP": address.ip, "LARDER_DEV_PORT": str(address.port)}
        # An edited view is computed anew, rather than shown as it was until its time is over.
        os.environ.setdefault("CACHE_SOURCE_CHECK", "true")
        with store.open_store() as opened, announced(address.port, opened.url):
            print(f"Flask-Larder's service: {address.url}, reloading what is edited")
            print(f"The store: {opened.description}", flush=True)
            serve(address.ip, address.port)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def serve(ip: str, port: int) -> None:
    """Run Werkzeug's server under its reloader."""
    log = logging.getLogger("werkzeug")
    log.addHandler(logging.StreamHandler())  # its start banner has several lines, and colours
    log.propagate = False
    run_simple(
        ip,
        port,
        load() if is_running_from_reloader() else BROKEN,
        use_reloader=True,
        # By default Werkzeug takes watchdog where that is installed, and with watchdog 7
        # no edit is noticed.
        reloader_type="stat",
        use_debugger=ipaddress.ip_address(ip).is_loopback,
        threaded=True,
        request_handler=_QuietHandler,
    )


def load() -> "WSGIApplication":
    """Return the application, or one that answers with the error that is in it."""
    try:
        from service.wsgi import app
    except Exception:  # noqa: BLE001 - anything may have been typed
        traceback.print_exc()
        return BROKEN
    return app


if __name__ == "__main__":
    sys.exit(main())
