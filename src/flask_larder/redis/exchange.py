"""Commands that go to a server, and the replies that come back, each in one go.

redis-py makes the connections, with all that belongs to that. Its way of asking passes through
several layers for each command and each reply, and takes as much processor time as the round trip.
"""

import math
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeAlias

import hiredis
import redis
from redis.exceptions import InvalidResponse, RedisError

Word: TypeAlias = str | bytes
"""A word of a command. Numbers are written out.

hiredis ends the process where it is given a number, and the handler of a signal raises meanwhile.
"""

Command: TypeAlias = tuple[Word, ...]
"""A command for Redis: its name and its arguments."""

_pack: Final[Callable[[Command], bytes]] = hiredis.pack_command  # type: ignore[assignment]
"""A command as it is sent."""

_MOST_BYTES: Final = 65536
"""What is read at once. Most replies are shorter, and come in one piece."""

_TOLERANCE_SECONDS: Final = 0.001
"""By how much what the socket waits may differ from what is left. To set it costs a system call."""

_SPIN_SECONDS: Final = 100e-6
"""For how long is asked again and again whether the reply is there, before the thread sleeps.

A server on the same host answers sooner than a thread that sleeps is awake again.
"""

_ROUNDS_WITHOUT: Final = 15
"""How often it sleeps at once, after the reply took longer than that."""

_UNFINISHED: Final = object()


UNHEARD: Final = object()
"""The reply to a command that has not been answered."""


class Repeated(tuple[Word, ...]):  # noqa: SLOT001 - a tuple can have none
    """A :data:`Command` that is sent many times, and therefore packed once.

    *known_to_fit* is a reply that it has had, whose shape need not be looked at again.
    """

    def __new__(cls, *command: Word) -> "Repeated":
        """Name and arguments, one by one."""
        return super().__new__(cls, command)

    def __init__(self, *_: Word) -> None:
        self.packed: Final[bytes] = _pack(self)
        self.known_to_fit: Any = UNHEARD


class Deferred(tuple[Word, ...]):  # noqa: SLOT001 - a tuple can have none
    """A :data:`Command` that goes along with another one, and may be refused without harm to that.

    *was_asked* once the server may have heard of it. *reply* is what came back, which may be an
    error; :data:`UNHEARD` without.
    """

    was_asked = False
    reply: Any = UNHEARD


class Tried(Deferred):
    """A :class:`Deferred` command without which there is another way: refusals are not told."""


class Connection:
    """A connection that redis-py has *made*, for one thread at a time.

    redis-py is not asked to send or to read on it any more, only to close it. If something is left
    to read, that is raised where it is an error, as of a server with too many clients, and
    ``redis.ConnectionError`` where it is not.
    """

    __slots__ = (
        *("__weakref__", "_made", "_pending", "_poll", "_reader", "_rounds_without", "_sock"),
        *("_timeout", "host", "port", "was_late"),
    )

    def __init__(self, made: redis.Connection) -> None:
        held: Any = made._sock  # noqa: SLF001 - a DeadlineSocket, in which the real one is
        deadline, held.deadline = held.deadline, None  # some redis-py would wait for it now
        if made.can_read():
            held.deadline = deadline
            made.read_response()
            raise redis.ConnectionError("the server says more than it was asked")
        self._made = made
        self._sock = held.sock
        self._timeout = math.inf  # what the socket waits; not known
        self._pending = getattr(self._sock, "pending", int)  # only TLS keeps bytes for itself
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        # Other greenlets are not to wait for this; where gevent has patched, poll is its own.
        may_spin = type(self._poll).__module__ == select.__name__
        self._rounds_without = 0 if may_spin else math.inf
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=made._parser.parse_error,  # noqa: SLF001
            notEnoughData=_UNFINISHED,
        )
        self.was_late = False
        # Not every kind of connection has these.
        self.host: str = getattr(made, "host", "")
        self.port: int = getattr(made, "port", 0)

    @property
    def is_ready(self) -> bool:
        """Whether it is open, and nobody's reply is on its way. Does not wait."""
        # At the end there is something to read, too: that it is the end.
        return not (self._poll.poll(0) or self._reader.has_data() or self._pending())

    def ask(self, command: Command, deadline: float) -> Any:
        """The reply to *command*, which is there when the monotonic clock shows *deadline*.

        Raises the reply if it is an error.
        """
        (reply,) = self.exchange(_pack(command), 1, deadline)
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def exchange(self, packed: bytes, count: int, deadline: float) -> list[Any]:
        """Send *packed* commands and return the replies, of which there are *count*.

        Errors are replies, too, so that nothing is left to read, whatever the server says to one
        of the commands. What comes out of this by an exception is to be closed. Afterwards,
        *was_late* tells whether the thread came too late to wait, and found the reply there.
        """
        self.was_late = False
        try:
            self._keep_to(deadline)
            sent = self._sock.send(packed)
            if sent < len(packed):
                self._send_rest(memoryview(packed)[sent:], deadline)
            replies: list[Any] = []
            self._receive(deadline, is_first=True)
            while True:
                while (reply := self._reader.gets()) is not _UNFINISHED:
                    replies.append(reply)
                    if len(replies) == count:
                        return replies
                self._receive(deadline)
        except TimeoutError as error:
            if monotonic() < deadline - _TOLERANCE_SECONDS and error.errno is None:
                raise  # what a handler of a signal has raised is the application's own
            raise redis.TimeoutError("the reply did not come in time") from error

    def interrupt(self) -> None:
        """Have a thread that waits on it find that it is closed. Any other thread may say so.

        Not with TLS: Python takes the encryption away first, and what is sent then is plain.
        """
        if self._pending is int:
            with suppress(OSError):  # it is closed
                self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it, also where it was closed by the other side."""
        self._made.disconnect()  # type: ignore[no-untyped-call]

    def _send_rest(self, rest: memoryview, deadline: float) -> None:
        while rest:
            self._keep_to(deadline)
            rest = rest[self._sock.send(rest) :]

    def _receive(self, deadline: float, *, is_first: bool = False) -> None:
        try:
            self._keep_to(deadline)
        except TimeoutError:
            # In a busy process, others may have run for so long that the reply is there. With TLS
            # it cannot be known whether it is the whole of one.
            if not (is_first and self._pending is int and self._poll.poll(0)):
                raise
            self.was_late = True
        if self._rounds_without:
            self._rounds_without -= 1
        else:
            self._spin()
        received = self._sock.recv(_MOST_BYTES)
        if not received:
            raise redis.ConnectionError("the server has closed the connection")
        self._reader.feed(received)

    def _spin(self) -> None:
        """Wait for a reply that comes at once; the thread need not be woken for it."""
        poll, until = self._poll.poll, monotonic() + _SPIN_SECONDS
        while not poll(0):
            if monotonic() > until:
                self._rounds_without = _ROUNDS_WITHOUT
                return

    def _keep_to(self, deadline: float) -> None:
        """Have the socket wait no longer than that. Its timeout begins anew with each part."""
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        if not -_TOLERANCE_SECONDS <= left - self._timeout <= _TOLERANCE_SECONDS:
            self._sock.settimeout(left)
            self._timeout = left


def packed(commands: Sequence[Command]) -> bytes:
    """*commands* as they are sent, in one piece."""
    messages: list[bytes] = [
        command.packed if isinstance(command, Repeated) else _pack(command) for command in commands
    ]
    # One alone may be long, and needs no copy.
    return messages[0] if len(messages) == 1 else b"".join(messages)
