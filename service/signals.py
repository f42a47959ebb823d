"""What the signals mean to the service, until a server has taken them over and after that."""

import enum
import os
import signal
import sys
from types import FrameType

_told_to_stop: list[int] = []


def stop_early(number: int, _frame: FrameType | None) -> None:
    """Stop the service while it starts; the handler of SIGTERM until a server has its own."""
    _told_to_stop.append(number)
    sys.exit(0)


class HangUp(enum.Enum):
    """What to do on SIGHUP."""

    STOP = "the terminal was closed"
    IGNORE = "the terminal was closed, and the service was started by nohup"
    RESTART = "there is no terminal: somebody wants new workers"

    def prepare(self) -> None:
        """Be ready for it while the service starts."""
        if self is HangUp.STOP:
            signal.signal(signal.SIGHUP, stop_early)
        else:  # workers that are about to start are new ones
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def take_over(self) -> None:
        """Set the signal's handler, after a server has set its own, which restarts its workers."""
        if self is HangUp.STOP:
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        elif self is HangUp.IGNORE:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Python drops an exception in some places, such as a callback of a weak reference, of
        # which importing has many: what `stop_early` raised may not have got anywhere.
        if _told_to_stop:
            signal.raise_signal(signal.SIGTERM)


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
