"""``GET /universities?country=&name=``: what the universities API knows, fetched and cached."""

import unicodedata

from flask import Blueprint, Flask, Response, abort, current_app, request

from service.cache import cache
from service.universities_api import ApiFailedError, ApiTimeoutError, UniversitiesApi

PARAMETERS = ("country", "name")
LONGEST_VALUE = 200

blueprint = Blueprint("universities", __name__)


def init_app(app: Flask) -> None:
    """Make the client of the API."""
    app.extensions["universities_api"] = UniversitiesApi(
        app.config["UNIVERSITIES_API_URL"],
        connect_timeout=app.config["UNIVERSITIES_CONNECT_TIMEOUT"],
        read_timeout=app.config["UNIVERSITIES_READ_TIMEOUT"],
        total_timeout=app.config["UNIVERSITIES_TOTAL_TIMEOUT"],
        connections=app.config["THREADS"],
    )


@blueprint.get("/universities")
@cache.cached(timeout=30, query_string=PARAMETERS)
def universities() -> Response:
    """Return the universities of a country, or with a name, or both, as the API lists them."""
    api: UniversitiesApi = current_app.extensions["universities_api"]
    parameters = read_parameters()
    try:
        return Response(api.search(parameters), content_type="application/json")
    except ApiTimeoutError as error:
        abort(504, str(error))
    except ApiFailedError as error:
        abort(502, str(error))


def read_parameters() -> dict[str, str]:
    """Return the parameters that are given, or answer 400."""
    given = {name: value for name in PARAMETERS if (value := read_parameter(name))}
    if not given:
        abort(400, "Give a country or a name: /universities?country=Germany&name=m")
    return given


def read_parameter(name: str) -> str:
    """Return the parameter's value, empty if it is not given, or answer 400."""
    values = request.args.getlist(name)
    if len(values) > 1:
        abort(400, f"{name} is given {len(values)} times; give it once.")
    value = values[0] if values else ""
    if len(value) > LONGEST_VALUE:
        abort(400, f"{name} has {len(value)} characters; at most {LONGEST_VALUE} are accepted.")
    if any(not is_text(character) for character in value):
        abort(400, f"{name} contains a control character.")
    return value


def is_text(character: str) -> bool:
    """Tell whether it is no control character."""
    return unicodedata.category(character) not in {"Cc", "Cs"}
