"""Answers hits before Flask: no routing, no context, and mostly no question to Redis.

How that is done is told here. Whether it may be done for a URL is told by whoever teaches it; see
:mod:`flask_larder.flask.before_flask`. Whatever is not a plain hit goes to Flask.
"""

import logging
import os
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, TypeAlias
from weakref import WeakSet

from msgspec import Struct

from flask_larder.environ import Environ
from flask_larder.learned import LEARNED_BYTES, Learned, Lesson, Selecting, learn
from flask_larder.memory import Recent
from flask_larder.per_process import PerProcess

StartResponse: TypeAlias = Callable[..., Any]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

OUTCOME: Final = "flask_larder.status"
"""Where the environ holds the outcome, whose ``str`` is the ``Cache-Status``."""

PLACED: Final = "flask_larder.before_flask"
"""Where the environ holds the :class:`Pupil` that Flask can teach."""

LESSON: Final = "flask_larder.lesson"
"""Where it holds the :class:`Lesson` that Flask has to teach."""

_log = logging.getLogger("flask_larder")


class Pupil(Struct, frozen=True):
    """Who learns from the answer to a request, and its environ as it came.

    Whoever dispatches another request in the course of this one may change the environ for that.
    """

    learner: "BeforeFlask"
    came: Environ
    url: Hashable

    def can_learn(self, lesson: Lesson, environ: Environ) -> bool:
        """Whether *lesson* is about the very request that came, and holds for others like it."""
        came = self.came
        if _url_of(environ) != self.url:
            return False
        for name in ("QUERY_STRING", *lesson.fields):
            if environ.get(name) != came.get(name):
                return False
        return lesson.can_be_learned_from(came)


class BeforeFlask:
    """A WSGI application around *flask* that answers for it what it has learned."""

    def __init__(self, flask: Application) -> None:
        self._flask = flask
        self._here: PerProcess[Recent[Hashable, Learned | Selecting]] = PerProcess(
            lambda: Recent(LEARNED_BYTES)
        )
        self._learned: Recent[Hashable, Learned | Selecting] = Recent(0)  # until a request comes
        self._has_failed = False
        _placed.add(self)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or have Flask answer."""
        url = hit = None
        try:
            url = _url_of(environ)
            learned = self._learned.get(url)
            hit = None if learned is None else learned.find(environ)
        except Exception:  # noqa: BLE001 - whatever it is, Flask answers
            self._tell_failure()
        if hit is None:
            return self._through_flask(url, environ, start_response)
        status, fields, body, environ[OUTCOME] = hit
        start_response(status, fields.copy())  # it is the server's, which may change it
        return [body] if body else []

    def forget(self) -> None:
        """Learn anew, in this process."""
        self._here().clear()

    def come_here(self) -> None:
        """Go by what this process has learned, which may be another one by now."""
        self._learned = self._here()

    def _through_flask(
        self, url: Hashable, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Have Flask answer, and learn what it teaches."""

        def observing(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Any:
            lesson = environ.pop(LESSON, None)
            if lesson is not None and exc_info is None:
                try:
                    observed = (status, fields.copy(), b"", "") if lesson.is_checked else None
                    learn(self._learned, url, lesson, came, observed)
                except Exception:  # noqa: BLE001 - the answer goes out, whatever that is
                    self._tell_failure()
            if exc_info is None:
                return start_response(status, fields)
            return start_response(status, fields, exc_info)

        self.come_here()
        came = environ.copy()
        environ[PLACED] = Pupil(self, came, url)
        return self._flask(environ, observing)

    def _tell_failure(self) -> None:
        if not self._has_failed:
            self._has_failed = True
            _log.exception("Hits are answered inside Flask")


_placed: Final = WeakSet[BeforeFlask]()


def _after_fork() -> None:
    for each in list(_placed):
        each.come_here()


# Servers in C may fork without that: then a hit is that of the parent for a second at most.
os.register_at_fork(after_in_child=_after_fork)


def _url_of(environ: Environ) -> Hashable:
    return (
        environ["REQUEST_METHOD"],
        environ["wsgi.url_scheme"],
        environ.get("HTTP_HOST"),
        environ.get("SCRIPT_NAME"),
        environ.get("PATH_INFO"),
    )
