"""Signals of a cached view, sent where ``CACHE_ENABLE_SIGNALS`` is on.

The sender is the :class:`~flask_larder.Cache`; ``cache_key``, ``args`` and ``kwargs`` come
with it.
"""

from blinker import Namespace

_signals = Namespace()

cache_view_hit = _signals.signal("cache-view-hit")
cache_view_miss = _signals.signal("cache-view-miss")
