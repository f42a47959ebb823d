"""Flask-Larder: a cache for the responses of HTTP APIs written in Flask, on Redis."""
