"""The Flask application."""

from flask import Flask, url_for
from flask.typing import ResponseReturnValue

from flask_larder import StoreUnavailable
from service import problems, square, universities
from service.cache import cache
from service.config import BaseConfig, load_env

READY_SECONDS = 1.0
NOT_STORED = {"Cache-Control": "no-store"}


def create_app() -> Flask:
    """Make the application with the settings of the environment and of ``.env``."""
    load_env()
    app = Flask("service", static_folder=None)
    app.config.from_object(BaseConfig())
    cache.init_app(app)
    problems.init_app(app)
    universities.init_app(app)
    app.register_blueprint(square.blueprint)
    app.register_blueprint(universities.blueprint)
    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    return app


def index() -> ResponseReturnValue:
    """Say what there is."""
    return {
        "links": {
            "square": url_for("square.square", number="4"),
            "universities": url_for("universities.universities", country="Germany", name="m"),
            "health": url_for("healthz"),
            "readiness": url_for("readyz"),
        }
    }


def healthz() -> ResponseReturnValue:
    """Answer as long as this process can."""
    return {"status": "ok"}, NOT_STORED


def readyz() -> ResponseReturnValue:
    """Answer 200 if the store answers within a second, else 503."""
    try:
        cache.ping(timeout=READY_SECONDS)
    except StoreUnavailable:
        # The error names the store's address, which is not for everybody.
        return problems.problem(503, "The store does not answer. Views are answered uncached.")
    return {"status": "ok"}, NOT_STORED
