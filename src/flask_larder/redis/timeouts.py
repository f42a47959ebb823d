"""How long a socket waits: told to the system where that can be, which spares a call each time."""

import socket
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

_TIMEVAL: Final = struct.Struct("@ll")

TIME_IS_OVER: Final = (TimeoutError, BlockingIOError)
"""What such a socket raises then. The second one is the system's word for it."""


def timeout_of(sock: socket.socket) -> Callable[[float], None]:
    """What sets for how many seconds *sock* waits, above 0, to send or to receive.

    Python waits for a socket with a timeout by ``poll``, and only then sends or receives. Linux
    does both in one. Other kinds of sockets have ways of their own: of TLS, or of gevent.
    """
    if sys.platform != "linux" or type(sock).__module__ != "socket":
        return sock.settimeout
    sock.setblocking(True)
    return partial(_have_system_wait, sock)


def _have_system_wait(sock: socket.socket, seconds: float) -> None:
    """See socket(7), under SO_RCVTIMEO. All zeros would mean to wait for ever."""
    whole = int(seconds)
    limit = _TIMEVAL.pack(whole, max(1, int((seconds - whole) * 1e6)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
