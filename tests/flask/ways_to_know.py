"""By what an app knows its users: how a client sends it, and how a view gets at it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, abort, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionInterface
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    get_jwt_identity,
    jwt_required,
    verify_jwt_in_request,
)
from flask_login import LoginManager, UserMixin, current_user, login_required
from werkzeug.test import EnvironBuilder

Sent = dict[str, Any]
"""The options of a test client that send who asks."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to know who asks.

    *prepare* sets the app up, *send* makes what a user's client sends, and *who* finds the
    user, or ``None``. *required* is the decorator that lets nobody else through. *fields* are the
    header fields that hold who asks. *takes_users_for_nobody* where a page that was made for nobody
    may be sent to users, too. *also_read* is what is told of it by name, besides.
    """

    send: Callable[[Flask, str], Sent]
    who: Callable[[], str | None]
    prepare: Callable[[Flask], object] = lambda _: None
    required: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
    fields: tuple[str, ...] = ("Cookie",)
    takes_users_for_nobody: bool = False
    also_read: tuple[str, ...] = ()

    def load(self) -> str | None:
        """The user, loaded once for each request, as most extensions do."""
        if "user" not in g:
            g.user = self.who()
        user: str | None = g.user
        return user


def _header(name: str, form: str = "{}") -> Callable[[Flask, str], Sent]:
    return lambda _, user: {"headers": {name: form.format(user)}}


def _from_header(name: str, prefix: str = "") -> Callable[[], str | None]:
    def who() -> str | None:
        value = request.headers.get(name)
        return value.removeprefix(prefix) if value else None

    return who


def _basic_user() -> str | None:
    return request.authorization.username if request.authorization else None


def _send_session(app: Flask, user: str) -> Sent:
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    # As Flask-Login has it, and as one would by hand.
    value = serializer.dumps({"user": user, "_user_id": user, "_fresh": False})
    return {"headers": {"Cookie": f"session={value}"}}


class OnServer(SessionInterface):
    """Sessions of which the client has only the number."""

    def open_session(self, app: Flask, request: Any) -> SecureCookieSession:
        number = request.cookies.get("sid", "")
        return SecureCookieSession({"user": number.removeprefix("of-")} if number else {})

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        if session.accessed:
            response.vary.add("Cookie")


def _on_server(app: Flask) -> None:
    app.session_interface = OnServer()


# To protect sessions, which it does for each request, and not for a hit with vary="Cookie".
_PROTECTION = ("headers['User-Agent']", "headers['X-Forwarded-For']")


class User(UserMixin):  # type: ignore[misc] # it is not typed
    def __init__(self, name: str) -> None:
        self.id = name


def _login(app: Flask) -> None:
    LoginManager(app).user_loader(User)


def _login_by_token(app: Flask) -> None:
    manager = LoginManager(app)
    manager.user_loader(User)

    @manager.request_loader  # type: ignore[untyped-decorator]
    def load(request: Any) -> User | None:
        token = request.headers.get("Authorization")
        return User(token.removeprefix("Bearer ")) if token else None


def _login_user() -> str | None:
    user: str | None = current_user.get_id()
    return user


def _jwt(location: str) -> Callable[[Flask], None]:
    def prepare(app: Flask) -> None:
        app.config.update(JWT_SECRET_KEY="tests" * 8, JWT_TOKEN_LOCATION=[location])
        JWTManager(app)

    return prepare


def _token(app: Flask, user: str) -> str:
    with app.app_context():
        token: str = create_access_token(user)
    return token


def _jwt_user() -> str | None:
    if "_jwt_extended_jwt" not in g:
        verify_jwt_in_request(optional=True)
    user: str | None = get_jwt_identity()
    return user


KNOWN = {
    "cookie": Way(_header("Cookie", "user={}"), lambda: request.cookies.get("user")),
    "session": Way(_send_session, lambda: session.get("user")),
    "session-on-server": Way(
        _header("Cookie", "sid=of-{}"), lambda: session.get("user"), _on_server
    ),
    "bearer": Way(
        _header("Authorization", "Bearer {}"),
        _from_header("Authorization", "Bearer "),
        fields=("Authorization",),
    ),
    "basic": Way(
        lambda _, user: {"headers": dict(EnvironBuilder(auth=(user, "x")).headers)},
        _basic_user,
        fields=("Authorization",),
    ),
    "all-fields": Way(
        _header("Cookie", "user={}"),
        lambda: dict(request.headers).get("Cookie", "").removeprefix("user=") or None,
        fields=(),
        # A hook that only logs all fields does the same, and is to keep nothing from being stored.
        takes_users_for_nobody=True,
    ),
    "remote-user": Way(
        lambda _, user: {"environ_overrides": {"REMOTE_USER": user}},
        lambda: request.remote_user,
        fields=(),
    ),
    "flask-login": Way(_send_session, _login_user, _login, login_required, also_read=_PROTECTION),
    "flask-login-token": Way(
        _header("Authorization", "Bearer {}"),
        _login_user,
        _login_by_token,
        login_required,
        fields=("Authorization", "Cookie"),
        also_read=_PROTECTION,
    ),
    "jwt-cookie": Way(
        lambda app, user: {"headers": {"Cookie": f"access_token_cookie={_token(app, user)}"}},
        _jwt_user,
        _jwt("cookies"),
        jwt_required(),
    ),
    "jwt-token": Way(
        lambda app, user: {"headers": {"Authorization": f"Bearer {_token(app, user)}"}},
        _jwt_user,
        _jwt("headers"),
        jwt_required(),
        fields=("Authorization",),
    ),
    "api-key": Way(_header("X-Api-Key"), _from_header("X-Api-Key"), fields=("X-Api-Key",)),
    "gateway": Way(
        _header("X-Forwarded-User"),
        _from_header("X-Forwarded-User"),
        fields=("X-Forwarded-User",),
    ),
}
"""Those of which the cache knows, also by the name of a header field, that they tell who asks."""

UNKNOWN = {
    "headers['X-Who']": Way(_header("X-Who"), _from_header("X-Who"), fields=("X-Who",)),
    "headers['X-Pass']": Way(
        lambda app, user: {"headers": {"X-Pass": _token(app, user)}},
        _jwt_user,
        lambda app: (
            app.config.update(JWT_HEADER_NAME="X-Pass", JWT_HEADER_TYPE=""),
            _jwt("headers")(app),
        ),
        jwt_required(),
        fields=("X-Pass",),
    ),
    "args['key']": Way(
        lambda _, user: {"query_string": {"key": user}},
        lambda: request.args.get("key"),
        fields=(),
    ),
    "args['jwt']": Way(
        lambda app, user: {"query_string": {"jwt": _token(app, user)}},
        _jwt_user,
        _jwt("query_string"),
        jwt_required(),
        fields=(),
    ),
}
"""Those which it takes for anything else, by what debug mode names them."""


def required_by_hand(way: Way) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that loads the user, and lets nobody else through; it hides what it decorates."""

    def required(view: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            if way.load() is None:
                abort(401)
            return view(*args, **kwargs)

        return checked

    return required
