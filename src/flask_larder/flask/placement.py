"""Where hits are answered before Flask: directly around Flask's own ``wsgi_app``."""

import inspect
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from flask import Flask

from flask_larder.wsgi import BeforeFlask

EXTENSION: Final = "flask_larder.before_flask"
"""Under which name the app's extensions have what was placed."""


_WSGI_APP: Final = Flask.wsgi_app
"""As Flask has it: what is patched is to run for hits, too."""


def forget(app: Flask) -> None:
    """Have whatever was placed before *app* learn anew, since its settings may be others now."""
    placed = app.extensions.get(EXTENSION)
    if isinstance(placed, BeforeFlask):
        placed.forget()


def place(app: Flask) -> None:
    """Put a :class:`BeforeFlask` directly around Flask's own ``wsgi_app``, once.

    It is inside whatever middleware stands there already, if that tells what it wraps, and inside
    what comes later. Where the method cannot be reached, or is another one, nothing is done.
    """
    if EXTENSION in app.extensions or type(app).wsgi_app is not _WSGI_APP:
        return
    for holder, name, inner in _applications(app):
        if inspect.ismethod(inner) and inner.__self__ is app and inner.__func__ is _WSGI_APP:
            placed = BeforeFlask(inner)
            with suppress(AttributeError, TypeError):  # else it cannot be reached
                setattr(holder, name, placed)
                app.extensions[EXTENSION] = placed
            return


_MOST_HELD: Final = 100
"""At how many objects is looked for the application that one of them wraps."""


def _applications(app: Flask) -> Iterator[tuple[Any, str, Any]]:
    """The application of *app*, what that wraps if it is middleware, and so on; and who has it."""
    yield app, "wsgi_app", app.wsgi_app
    holders: list[Any] = [app.wsgi_app]
    for holder in holders:
        attributes = {} if isinstance(holder, Flask) else getattr(holder, "__dict__", {})
        for name, held in list(attributes.items()):
            if callable(held) and len(holders) < _MOST_HELD:
                yield holder, name, held
                holders.append(held)
