"""Where a running service says which store it uses, for ``make keys``: ``.run/<port>.url``."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from service.config import ROOT

DIRECTORY = ROOT / ".run"


def state_file(port: int) -> Path:
    """Return the file of the service on that port."""
    return DIRECTORY / f"{port}.url"


def read_state(port: int) -> str | None:
    """Return the address that the service on that port left, None if there is none."""
    try:
        return state_file(port).read_text().strip() or None
    except OSError:
        return None


@contextlib.contextmanager
def announced(port: int, address: str | None) -> Iterator[None]:
    """Keep the address in the state file meanwhile; only this user can read it.

    It may hold a password. A file that a killed service left is replaced. A forked child that ends
    leaves it alone.
    """
    path, pid = state_file(port), os.getpid()
    with contextlib.suppress(OSError):  # read-only installation: `make keys` needs the address then
        path.unlink(missing_ok=True)
    if address:
        with contextlib.suppress(OSError):
            DIRECTORY.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{address}\n")
    try:
        yield
    finally:
        if address and os.getpid() == pid and read_state(port) == address:
            with contextlib.suppress(OSError):
                path.unlink()
