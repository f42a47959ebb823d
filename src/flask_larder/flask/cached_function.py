"""What a decorated function is, for whoever calls it and for type checkers."""

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from flask_larder.flask.options import Timeout

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class CachedFunction(Protocol[P, R_co]):
    """A function decorated with ``cached`` or ``http_cached``.

    It is called as before.

    ``uncached`` is the function itself. ``cache_timeout`` may be set at any time, and counts for
    the former. ``purge`` is :meth:`~flask_larder.Cache.purge_view` for it.
    """

    uncached: Callable[..., Any]
    cache_timeout: Timeout | None
    purge: Callable[..., None]
    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Answer from the cache, or run the function."""
        ...

    def __get__(self, instance: object, owner: type | None = None, /) -> Callable[..., R_co]:
        """Bind a method to its object."""
        ...
