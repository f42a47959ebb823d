"""What a :class:`~flask_larder.Cache` keeps for the developer, under keys of their own."""

from collections.abc import Mapping
from typing import Any, Final

from flask_larder.errors import StoreUnavailable
from flask_larder.flask.options import Timeout, seconds_of
from flask_larder.flask.values import NO_VALUE
from flask_larder.flask.wiring import Wiring
from flask_larder.key import named_key, named_view_key

_OF_VIEWS: Final = "view//"


class ValueMethods:
    """The methods of a cache for values."""

    def _wiring(self) -> Wiring:
        raise NotImplementedError

    def get(self, key: str) -> Any:
        """The value under *key*; ``None`` where there is none, or where the store is away."""
        return self.get_many(key)[0]

    def get_many(self, *keys: str) -> list[Any]:
        """The values under *keys*, in order, with ``None`` for each that is not there."""
        found = self._wiring().values.get_many([named_key(key) for key in keys])
        return [None if value is NO_VALUE else value for value in found]

    def get_dict(self, *keys: str) -> dict[str, Any]:
        """As :meth:`get_many`, by key."""
        return dict(zip(keys, self.get_many(*keys), strict=True))

    def set(self, key: str, value: Any, timeout: Timeout | None = None) -> bool:
        """Keep *value* under *key* for *timeout* (as in :meth:`cached`). Whether it was kept.

        It has to be plain data: ``None``, numbers, texts, bytes, dates and times, ``Decimal``,
        ``UUID``, and lists, tuples, sets and dicts of them, which come back as they are.
        Raises ``UnstorableValue`` for anything else, and never pickles. It counts as made now: data
        that was read before a :meth:`clear` and is set after it stays.
        """
        return self._wiring().values.set(named_key(key), value, self._seconds(timeout))

    def set_many(self, mapping: Mapping[str, Any], timeout: Timeout | None = None) -> list[str]:
        """As :meth:`set` for each item; the keys that were kept."""
        return [key for key, value in mapping.items() if self.set(key, value, timeout)]

    def add(self, key: str, value: Any, timeout: Timeout | None = None) -> bool:
        """As :meth:`set`, if there is nothing under *key*; atomic also over processes."""
        return self._wiring().values.add(named_key(key), value, self._seconds(timeout))

    def has(self, key: str) -> bool:
        """Whether there is something under *key*, be it a value or a response."""
        return self._wiring().values.has(*_keys_of(key))

    def delete(self, key: str) -> bool:
        """Forget what is under *key*, be it a value or a response; whether there was something.

        What is being made just now may be kept after that. Processes that remember a response
        which was there are told. :meth:`delete_cached` and the purges are final.
        Raises ``StoreUnavailable`` where that cannot be done.
        """
        wiring, stored = self._wiring(), _keys_of(key)
        is_deleted = wiring.values.delete(*stored) > 0
        if not is_deleted:
            _tell_of_views(wiring, key)
        return is_deleted

    def delete_many(self, *keys: str) -> list[str]:
        """Forget what is under *keys*; those keys, since nothing is there any more.

        Raises ``StoreUnavailable`` where that cannot be done, unless ``CACHE_IGNORE_ERRORS``
        is on.
        """
        wiring, stored = self._wiring(), _keys_of(*keys)
        try:
            if not wiring.values.delete(*stored):
                _tell_of_views(wiring, *keys)
        except StoreUnavailable:
            if wiring.settings["CACHE_IGNORE_ERRORS"]:
                return []
            raise
        return list(keys)

    def _seconds(self, timeout: Timeout | None) -> float:
        seconds = seconds_of(timeout)
        if seconds is not None:
            return seconds
        default: float = self._wiring().settings["CACHE_DEFAULT_TIMEOUT"]
        return default


def _keys_of(*names: str) -> list[str]:
    """Where there may be something under *names*: values, and responses of views."""
    return [make(name) for name in names for make in (named_key, named_view_key)]


def _tell_of_views(wiring: Wiring, *names: str) -> None:
    """Log it, once, where *names* are those that Flask-Caching has for views: nothing has them."""
    if any(name.startswith(_OF_VIEWS) for name in names):
        wiring.tell_once(
            f"no page is kept under a name that begins with {_OF_VIEWS}: to forget one, use "
            f"purge_path, or delete_cached"
        )
