"""Flask-Larder: a cache for the responses of HTTP APIs written in Flask, on Redis."""

from flask_larder.errors import InvalidConfig as InvalidConfig
from flask_larder.errors import InvalidKey as InvalidKey
from flask_larder.errors import InvalidPolicy as InvalidPolicy
from flask_larder.errors import InvalidPurge as InvalidPurge
from flask_larder.errors import LarderError as LarderError
from flask_larder.errors import NotInitialised as NotInitialised
from flask_larder.errors import StoreUnavailable as StoreUnavailable
from flask_larder.errors import UnstorableValue as UnstorableValue
from flask_larder.flask.cached_function import CachedFunction as CachedFunction
from flask_larder.flask.extension import Cache as Cache
from flask_larder.flask.signals import cache_view_hit as cache_view_hit
from flask_larder.flask.signals import cache_view_miss as cache_view_miss
