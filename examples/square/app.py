"""The square of a number, cached for 50 seconds."""

import logging
import os

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from flask_larder import Cache

logging.basicConfig(level=logging.INFO)

app = Flask(__name__)
app.config.from_object("config.BaseConfig")
cache = Cache(app)


@app.route("/square/<int:number>")
@cache.cached(timeout=50)
def square(number: int) -> ResponseReturnValue:
    app.logger.info("Computing the square of %s", number)
    return jsonify(computed=number * number)


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "5000")))
