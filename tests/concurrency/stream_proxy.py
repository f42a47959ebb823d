"""A proxy between the cache and Redis that spoils what comes back."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

MANNERS = ("resets", "truncates", "delays", "garbles", "swallows", "trickles")
DELAY = 0.3  # seconds; more than a reply may take


class StreamProxy:
    """Listens on a unix socket; *manner* says what happens to replies, "passes" to leave them."""

    def __init__(self, directory: Path, server: Path) -> None:
        self.path = directory / "proxy"
        self.manner = "passes"
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server, contextlib.suppress(OSError):
            server.connect(str(self._server))
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            while data := server.recv(65536):
                if not self._answer(client, data):
                    return

    def _answer(self, client: socket.socket, data: bytes) -> bool:
        """Pass a reply on, in its manner; false if the connection is over."""
        match self.manner:
            case "resets":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case "truncates":
                client.sendall(data[: len(data) // 2])
                return False
            case "delays":
                time.sleep(DELAY)
                client.sendall(data)
            case "garbles":
                client.sendall(bytes(byte ^ 0x55 for byte in data))
            case "swallows":
                pass
            case "trickles":  # each part comes in time
                for byte in data:
                    client.sendall(bytes([byte]))
                    time.sleep(DELAY / 10)
            case _:
                client.sendall(data)
        return True

    @staticmethod
    def _forward(client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def spoiling(directory: Path, server: Path) -> Iterator[StreamProxy]:
    """Run a proxy."""
    proxy = StreamProxy(directory, server)
    try:
        yield proxy
    finally:
        proxy.close()
