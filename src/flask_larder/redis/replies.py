"""What Redis answers to the commands that are used here, as far as that is used."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import InvalidResponse, RedisError, ResponseError

from flask_larder.redis.exchange import Command, Deferred, Repeated, Word

_RECORD_ID: Final = re.compile(rb"\d{1,20}-\d{1,20}")


def fitting(command: Command, reply: Any) -> Any:
    """*reply*, if it has the shape of an answer to *command*. Raises it if it is an error.

    Where it has another shape, the stream is out of step, and each reply belongs to another
    question: raises ``InvalidResponse``.
    """
    if isinstance(reply, RedisError):
        raise reply
    if not _SHAPES[command[0]](command, reply):
        raise InvalidResponse(f"the reply to {command[0]!s} is that to another question")
    return reply


def all_fitting(commands: Sequence[Command], replies: Sequence[Any]) -> Sequence[Any]:
    """*replies*, if each is :func:`fitting`. One that does not fit tells more than an error.

    That a :class:`Deferred` command is refused is its own affair.
    """
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(command, Repeated) and reply == command.known_to_fit:
            continue
        if not _SHAPES[command[0]](command, reply):
            break
        if isinstance(command, Repeated):
            command.known_to_fit = reply
    else:
        return replies
    pairs = list(zip(commands, replies, strict=True))
    for command, reply in sorted(pairs, key=lambda pair: isinstance(pair[1], RedisError)):
        if not (isinstance(command, Deferred) and isinstance(reply, ResponseError)):
            fitting(command, reply)
    return replies


def _is_values(command: Command, reply: Any) -> bool:
    if not isinstance(reply, list) or len(reply) != len(command) - 1:
        return False
    for item in reply:  # noqa: SIM110 - a generator would cost each hit more
        if not (item is None or isinstance(item, bytes)):
            return False
    return True


def _is_page(_: Command, reply: Any) -> bool:
    return (
        isinstance(reply, list)
        and len(reply) == 2
        and isinstance(reply[0], bytes)
        and isinstance(reply[1], list)
        and all(isinstance(key, bytes) for key in reply[1])
    )


def _is_record_id(_: Command, reply: Any) -> bool:
    return isinstance(reply, bytes) and _RECORD_ID.fullmatch(reply) is not None


def _is_records(command: Command, reply: Any) -> bool:
    if not isinstance(reply, list):
        return False
    for item in reply:
        if not (isinstance(item, list) and len(item) == 2 and _is_record_id(command, item[0])):
            return False
        if not isinstance(item[1], list):
            return False
        for part in item[1]:
            if not isinstance(part, bytes):
                return False
    return True


_SHAPES: Final[Mapping[Word, Callable[[Command, Any], bool]]] = {
    "ASKING": lambda _, reply: bool(reply == b"OK"),
    "EVAL": lambda _, reply: isinstance(reply, int),
    "GET": lambda _, reply: isinstance(reply, bytes | None),
    "INFO": lambda _, reply: isinstance(reply, bytes),
    "MGET": _is_values,
    "SCAN": _is_page,
    "SET": lambda _, reply: reply is None or bool(reply == b"OK"),
    "UNLINK": lambda _, reply: isinstance(reply, int),
    "XADD": _is_record_id,
    "XRANGE": _is_records,
    "XREAD": lambda _, reply: isinstance(reply, list | None),
}
