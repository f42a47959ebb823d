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
    try:  # a signal may end this at any moment
        if address:
            with contextlib.suppress(OSError):
                _write(path, address)
        yield
    finally:
        if address and os.getpid() == pid and read_state(port) == address:
            with contextlib.suppress(OSError):
                path.unlink()


def _write(path: Path, address: str) -> None:
    """Put it there at once: a file without its address could be anybody's."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}")
    try:
        new.unlink(missing_ok=True)  # a process that was killed may have had this number
        with open(new, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(f"{address}\n")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
