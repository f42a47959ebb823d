"""The universities of a country, from a slow public API, cached for 30 seconds."""

import os

import requests
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from flask_larder import Cache

API_URL = os.environ.get("UNIVERSITIES_API_URL", "http://universities.hipolabs.com")

app = Flask(__name__)
app.config.from_object("config.BaseConfig")
cache = Cache(app)


@app.route("/universities")
@cache.cached(timeout=30, query_string=True)
def get_universities() -> ResponseReturnValue:
    search = {"country": request.args.get("country")}
    return jsonify(requests.get(f"{API_URL}/search", params=search, timeout=10).json())


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "5000")))
