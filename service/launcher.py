"""The launcher: runs the service with all that it needs, until it is told to stop."""

import logging
import signal
import sys

from flask_larder import LarderError, StoreUnavailable
from service import logs, store, worker
from service.config import ConfigError, load_env
from service.launch import Launch, read_launch
from service.state import announced

STOP_SECONDS = 4.5


def main(arguments: list[str], parent: int) -> int:
    """Run the service; return the exit code. ``parent`` is the process that started this one."""
    logs.configure()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the server takes it over
    if "--with-parent" in arguments:  # make does not hand on SIGKILL, nor a closed terminal
        worker.end_with(parent, drain_seconds=STOP_SECONDS)
    try:
        run()
    except (ConfigError, LarderError) as error:
        print(f"error: {logs.escape(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the server has taken over the signals
        return 130
    return 0


def run() -> None:
    """Read the settings, open the store and serve."""
    load_env()
    launch = read_launch()
    with store.open_store() as opened, announced(launch.address.port, opened.url):
        check_application()
        print(what_to_try(launch, opened.description), flush=True)
        from service.servers import serve  # noqa: PLC0415 - only now: it takes a moment

        serve(launch)


def check_application() -> None:
    """Make the application once, so that what is wrong is told here, once, and not by workers.

    A store that does not answer is no reason not to start: views then answer uncached.
    """
    from service.app import create_app  # noqa: PLC0415 - it reads the environment
    from service.cache import cache  # noqa: PLC0415

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the workers say the rest
    try:
        with create_app().app_context():
            cache.ping()
    except StoreUnavailable as error:
        print(
            f"warning: {logs.escape(str(error))}; until it answers, nothing is cached", flush=True
        )
    finally:
        root.setLevel(level)


def what_to_try(launch: Launch, description: str) -> str:
    """Return the lines printed at the start."""
    url, port = launch.address.url, launch.address.port
    workers = "worker" if launch.workers == 1 else "workers"
    keys = "make keys" if port == 8000 else f"make keys PORT={port}"
    return f"""\
Flask-Larder's service: {url}, {launch.server} with {launch.workers} {workers}
The store: {description}
Try:
  curl -i {url}/square/4
  curl -i '{url}/universities?country=Germany&name=m'
  {keys}
Stop it with Ctrl-C.
"""
