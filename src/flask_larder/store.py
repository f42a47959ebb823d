"""The ports: to what keeps entries, and to what tells one process from others that share them."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, Protocol, TypeVar

from flask_larder.entry import Entry

T = TypeVar("T")


class Store(Protocol):
    """Keeps bytes under a key for a time. Every method may raise ``StoreUnavailable``.

    Keys are those of :mod:`flask_larder.key`; a prefix, where there is one, is the store's own
    affair. A *ttl* is in seconds and above 0.
    """

    def get(self, key: str) -> bytes | None:
        """The bytes under *key*, or ``None``."""
        ...

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """What :meth:`get` returns for each key, in order."""
        ...

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep *value*, whatever was there. Returns whether it was kept."""
        ...

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep *value* if nothing is there, atomically. Returns whether it was kept."""
        ...

    def delete(self, keys: Sequence[str]) -> int:
        """Forget *keys*. Returns how many there were."""
        ...

    def clear(self) -> None:
        """Forget everything that was kept under this store's prefix, and nothing else."""
        ...

    def ping(self, timeout: float) -> None:
        """Return if the store answers within *timeout* seconds, or raise."""
        ...


class Memory(Protocol):
    """Keeps entries for a short time in the process, in front of a store. Raises nothing."""

    def get(self, key: str) -> Entry | None:
        """The entry under *key*, or ``None``, also where the store is to be asked again."""
        ...

    def put(self, key: str, entry: Entry) -> None:
        """Keep *entry*, as the store has it now."""
        ...

    def seen(self, key: str) -> object | None:
        """What stands for the present state of *key*; another one after each :meth:`put`."""
        ...

    def put_after(self, seen: object | None, key: str, entry: Entry) -> None:
        """As :meth:`put`, unless the state of *key* is no longer the one that was *seen*."""
        ...

    def drop(self, keys: Sequence[str]) -> None:
        """Forget *keys*."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...


class Lease(Protocol):
    """The right to be the only one, among all processes, that works on a key."""

    def release(self) -> None:
        """Give it back, if it has not been lost meanwhile. Raises nothing."""
        ...


class Unasked(Enum):
    """Nobody was asked for a lease."""

    UNASKED = "unasked"


UNASKED: Final = Unasked.UNASKED


class Leases(Protocol):
    """Gives out leases. Where not said otherwise, methods may raise ``StoreUnavailable``.

    A lease ends by itself some time after its process has died, and is kept alive until then. It
    may end when something is stored under its key: then others need not wait any more.
    """

    def acquire(self, key: str) -> Lease | None:
        """The lease for *key*, or ``None`` while another has it. Does not wait."""
        ...

    def acquire_and_look(self, key: str, look: Callable[[], T]) -> tuple[Lease | None, T]:
        """As :meth:`acquire`, and what *look* returns, which asks the store after that.

        The store answers both in one go where it can. Where it does not answer, the lease is one
        that is not shared. Raises nothing but what *look* raises.
        """
        ...

    def look_and_acquire(self, key: str, look: Callable[[], T]) -> tuple[Lease | Unasked | None, T]:
        """What *look* returns, which asks the store for *key*; where nothing is there, the lease.

        The store answers both in one go; where it cannot, or has something, nobody is asked for a
        lease. Else as :meth:`acquire_and_look`.
        """
        ...

    def leave(self, key: str) -> None:
        """Give back what this thread may have been given for *key* unheard. Raises nothing."""
        ...

    def holder(self, key: str) -> object | None:
        """Who has the lease for *key*: something that differs for each lease; or ``None``."""
        ...

    def is_own(self, holder: object) -> bool:
        """Whether that is this very thread, maybe for another cache: it would wait for itself."""
        ...
