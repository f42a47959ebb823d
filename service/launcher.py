"""The launcher: runs the service with all that it needs, until it is told to stop."""

import importlib
import multiprocessing
import os
import signal
import sys

from service import logs, store, worker
from service.config import ConfigError, load_env
from service.launch import Launch, read_launch
from service.signals import HangUp, meaning, stop_early
from service.state import announced

STOP_SECONDS = 1.5  # beyond those for the requests: for the embedded server

# What takes long to load, and does not change with the application: the workers inherit it.
LIBRARIES = ("flask", "msgspec", "redis", "urllib3", "werkzeug.middleware.proxy_fix")


def main(arguments: list[str], parent: int) -> int:
    """Run the service; return the exit code. ``parent`` is the process that started this one."""
    logs.configure()
    signal.signal(signal.SIGTERM, stop_early)
    on_hang_up = meaning()
    on_hang_up.prepare()
    try:
        load_env()
        launch = read_launch()
        if "--with-parent" in arguments:  # make does not hand on SIGKILL, nor a closed terminal
            worker.end_with(parent, drain_seconds=launch.drain_seconds + STOP_SECONDS)
        return run(launch, on_hang_up)
    except ConfigError as error:
        print(f"error: {logs.escape(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the server has taken over the signals
        return 130


def run(launch: Launch, on_hang_up: HangUp) -> int:
    """Open the store and serve; return the exit code."""
    with store.open_store() as opened, announced(launch.address.port, opened.url):
        if code := check_application():
            if code < 0:
                print(f"error: the application ended by signal {-code}", file=sys.stderr)
            return 2
        print(what_to_try(launch, opened), flush=True)
        from service.servers import serve  # noqa: PLC0415 - only now: it takes a moment

        serve(launch, on_hang_up)
    return 0


def check_application() -> int:
    """Make the application once, so that what is wrong is told here, once, and not by workers.

    It is done in a process of its own: this one never loads the application, so that each worker,
    which is forked from it, loads it as it is by then. Return the exit code.
    """
    for name in LIBRARIES:
        importlib.import_module(name)
    if sys.platform == "linux":
        check = multiprocessing.get_context("fork").Process(target=_check)
    else:
        check = multiprocessing.get_context("spawn").Process(target=_check)
    check.start()
    try:
        check.join()
    except BaseException:
        check.kill()
        raise
    return check.exitcode or 0


def _check() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the main process, which ends this one
    from service.check import main  # noqa: PLC0415 - only in this process

    sys.exit(main())


def what_to_try(launch: Launch, opened: store.Store) -> str:
    """Return the lines printed at the start."""
    url, port = launch.address.url, launch.address.port
    workers = "worker" if launch.workers == 1 else "workers"
    if os.getpid() == 1:  # in a container, where nobody knows its address outside
        return f"""\
Flask-Larder's service on port {port}, {launch.server} with {launch.workers} {workers}
The store: {opened.description}
"""
    tries = [f"curl -i {url}/square/4", f"curl -i '{url}/universities?country=Germany&name=m'"]
    if opened.url is not None:  # only of Redis can it be told what is there
        tries.append("make keys" if port == 8000 else f"make keys PORT={port}")
    lines = "\n  ".join(tries)
    return f"""\
Flask-Larder's service: {url}, {launch.server} with {launch.workers} {workers}
The store: {opened.description}
Try:
  {lines}
Stop it with Ctrl-C.
"""
