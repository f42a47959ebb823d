"""What SIGHUP means to the service."""

import enum
import os
import signal
import sys


class HangUp(enum.Enum):
    """What to do on SIGHUP."""

    STOP = "the terminal was closed"
    IGNORE = "the terminal was closed, and the service was started by nohup"
    RESTART = "there is no terminal: somebody wants new workers"

    def prepare(self) -> None:
        """Be ready for it while the service starts."""
        if self is HangUp.STOP:
            signal.signal(signal.SIGHUP, lambda *_: sys.exit(0))
        else:  # workers that are about to start are new ones
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def take_over(self) -> None:
        """Set the signal's handler, after a server has set its own, which restarts its workers."""
        if self is HangUp.STOP:
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        elif self is HangUp.IGNORE:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)


def meaning() -> HangUp:
    """Return what SIGHUP means to this process; to be asked before it is prepared for it."""
    if not _has_terminal():
        return HangUp.RESTART
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return HangUp.IGNORE if ignored else HangUp.STOP


def _has_terminal() -> bool:
    # Opening it fails for a process without a controlling terminal. To be found out at the start:
    # once the terminal is closed, no process has it any more.
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
