"""A socket that keeps to a deadline, however slowly the other side sends or takes."""

import socket
import time
from typing import Any


class DeadlineSocket:
    """*sock*, on which no sending or receiving goes on when the monotonic clock shows *deadline*.

    The timeout of a socket itself begins anew with each part that arrives, so that a reply which
    trickles in may take for ever. Raises ``TimeoutError``, as a socket does. While the deadline is
    ``None``, the timeout is what counts.
    """

    def __init__(self, sock: socket.socket, deadline: float | None = None) -> None:
        self.sock = sock
        self.deadline = deadline

    def sendall(self, data: bytes) -> None:
        """See :meth:`socket.socket.sendall`."""
        self._keep_to_deadline()
        self.sock.sendall(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """See :meth:`socket.socket.recv`."""
        self._keep_to_deadline()
        return self.sock.recv(size, flags)

    def recv_into(self, buffer: bytearray) -> int:
        """See :meth:`socket.socket.recv_into`."""
        self._keep_to_deadline()
        return self.sock.recv_into(buffer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def _keep_to_deadline(self) -> None:
        if self.deadline is None:
            return
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        self.sock.settimeout(left)
