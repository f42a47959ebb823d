"""The cache of this service; the views are decorated with it, the application initialises it."""

from flask_larder import Cache

cache = Cache()
