"""The way to the node that serves a key, in a Redis Cluster."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError

from flask_larder.budget import BudgetSource, Counts, unbounded
from flask_larder.errors import StoreUnavailable
from flask_larder.per_process import PerProcess
from flask_larder.redis.connection import Place
from flask_larder.redis.exchange import Command, Deferred, Word
from flask_larder.redis.links import Links
from flask_larder.redis.pool import NoneFree, OutOfTime
from flask_larder.redis.slots import UNKNOWN_HOSTS, ClusterAddress, Node, Slots

T = TypeVar("T")


class ClusterLinks:
    """The links of one process after another to all nodes of the Cluster at *address*.

    As :class:`Links`, but each command has one key. A node that says who serves it now is
    believed, and that one asked instead, once.
    """

    are_many: Final = True

    def __init__(self, address: ClusterAddress, budget: BudgetSource = unbounded) -> None:
        self._address = address
        self._budget = budget
        self._here = PerProcess(lambda: Slots(address, budget))

    def ask(self, *command: Word, counts: Counts = Counts.ALWAYS) -> Any:
        """As :meth:`Links.ask`."""
        slots = self._here()
        if not slots.owners:
            self._await_owners(slots, counts)
        slot, owner = _slot_of(command), self._owner(slots, command)
        try:
            return slots.links(owner).ask(*command, counts=counts)
        except StoreUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, AskError):
                if _may_have_moved(cause):
                    slots.look_again()
                raise
        other = (owner[0] if cause.host in UNKNOWN_HOSTS else cause.host, cause.port)
        if not isinstance(cause, MovedError):  # this key has moved, its slot is about to
            return slots.links(other).ask_all(("ASKING",), command, counts=counts)[-1]
        slots.owners[slot] = other
        slots.look_again()
        return slots.links(other).ask(*command, counts=counts)

    def ask_both(self, command: Command, then: Command) -> tuple[Any, Any | None]:  # noqa: ARG002
        """As :meth:`Links.ask_both`, but *then*, which may be for another node, is not asked."""
        return self.ask(*command), None

    def ahead_of(self, look: Callable[[], T], deferred: Deferred) -> T:
        """As :meth:`Links.ahead_of`, but *deferred*, for another node perhaps, is asked alone."""
        try:
            deferred.reply = self.ask(*deferred)
            deferred.was_asked = True
        except StoreUnavailable as error:
            deferred.was_asked = error.__cause__ is not None
        return look()

    def put_behind(self, key: str, deferred: Deferred) -> None:
        """As :meth:`Links.put_behind`, but *deferred* is left to who made it."""

    def take_back(self, key: str, deferred: Deferred) -> None:
        """As :meth:`Links.take_back`."""

    def ask_to_set(self, key: str, *command: Word) -> Any:  # noqa: ARG002
        """As :meth:`Links.ask_to_set`, with nothing behind it."""
        return self.ask(*command)

    def place_of(self, key: str) -> Place:
        """As :meth:`Links.place_of`, as far as is known; each time, the nodes are asked again."""
        slots = self._here()
        if not slots.owners:
            slots.look(self._address.seeds[0].connect_timeout)
        slots.look_again()
        return slots.links(self._owner(slots, ("", key))).place_of(key)

    def parted(self, keys: Sequence[str]) -> Iterable[Sequence[str]]:
        """As :meth:`Links.parted`: one by one, since keys of one slot may part when it moves."""
        return ([key] for key in keys)

    def everywhere(self) -> Sequence[Links]:
        """As :meth:`Links.everywhere`: to each node that serves slots now."""
        slots = self._here()
        slots.look(self._address.seeds[0].connect_timeout)
        return [slots.links(node) for node in slots.nodes()]

    def ping(self, timeout: float) -> None:
        """Ask whether the Cluster serves, in any case, and return within *timeout* seconds."""
        self._here().look(timeout)

    def _owner(self, slots: Slots, command: Command) -> Node:
        slot = _slot_of(command)
        owner = slots.owners[slot]
        if owner is None:
            slots.look_again()
            raise StoreUnavailable(f"no node of the Cluster at {self._address} serves slot {slot}")
        return owner

    def _await_owners(self, slots: Slots, counts: Counts) -> None:
        limit = self._address.seeds[0].timeout
        budget = None if counts is Counts.NEVER else self._budget()
        if budget is None:
            slots.await_owners(limit)
            return
        began = time.monotonic()
        try:
            slots.await_owners(min(limit, budget.left))
        finally:
            budget.left -= time.monotonic() - began


AnyLinks: TypeAlias = Links | ClusterLinks


def _slot_of(command: Command) -> int:
    key = command[3] if command[0] == "EVAL" else command[1]
    return key_slot(key.encode() if isinstance(key, str) else key)


def _may_have_moved(cause: BaseException | None) -> bool:
    """Whether a node that failed so may have been replaced by another."""
    is_answer = isinstance(cause, ResponseError) and not isinstance(cause, ClusterDownError)
    return not (is_answer or isinstance(cause, NoneFree | OutOfTime))
