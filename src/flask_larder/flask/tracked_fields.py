"""Header fields, and whole environs, that note what is read of them."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from werkzeug.datastructures import EnvironHeaders

from flask_larder.credentials import LONGEST_FIELD_NAME
from flask_larder.environ import environ_name, field_name
from flask_larder.flask.named_reads import HEADERS, NamedReads, Read, read_of_field
from flask_larder.flask.read_log import ReadLog
from flask_larder.headers import is_field_name

# Stand among the names of header fields for what is none.
ALL_FIELDS: Final = "*"
REMOTE_USER: Final = ":remote-user"


class TrackedHeaders(EnvironHeaders):
    """Header fields that note in *reads* which of them were asked for, in lower case."""

    def __init__(self, fields: EnvironHeaders, reads: ReadLog[str]) -> None:
        self.__dict__.update(fields.__dict__)
        self.reads = reads
        self.named_reads: NamedReads | None = None

    def __getitem__(self, key: str) -> str:  # type: ignore[override]
        self.note(key)
        return super().__getitem__(key)

    def _get_key(self, key: str) -> str:  # what `get` and `in` use
        self.note(key)
        return super()._get_key(key)

    def getlist(self, key: str, type: Callable[[str], Any] | None = None) -> list[Any]:  # noqa: A002
        """The field's value, in a list. Werkzeug goes through all fields, as if reading all."""
        if type is not None or len(str(key)) > LONGEST_FIELD_NAME:
            value = self.get(key, type=type)  # type: ignore[arg-type] # as it is by default
        else:  # not by an exception where it is missing: Flask asks for cookies in each request
            self.note(key)
            value = self.environ.get(environ_name(str(key)))
        return [] if value is None else [value]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        self.reads.note(ALL_FIELDS)
        if self.named_reads is not None:
            self.named_reads.note(Read(HEADERS))
        return super().__iter__()

    def note(self, name: str) -> None:
        """Note that the field was read.

        What no field is called is told nowhere, since a client may have made it up.
        """
        name = str(name)
        name = _noted_name(name) if len(name) <= LONGEST_FIELD_NAME else ALL_FIELDS
        self.reads.note(name)
        if self.named_reads is not None:
            self.named_reads.note(Read(HEADERS) if name == ALL_FIELDS else read_of_field(name))


@lru_cache
def _noted_name(name: str) -> str:
    """Under which name it is noted that the field *name* was read."""
    name = name.lower().replace("_", "-")
    return name if is_field_name(name) else ALL_FIELDS


_OF_ALL: Final = frozenset(
    {
        *("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL"),
        *("SERVER_NAME", "SERVER_PORT", "CONTENT_TYPE", "CONTENT_LENGTH"),
    }
)
"""What an environ has that tells of nobody."""


class NotedEnviron(dict[str, Any]):
    """An environ of which is noted, in *reads*, what is read that tells who asks."""

    def __init__(self, environ: dict[str, Any], reads: ReadLog[str]) -> None:
        super().__init__(environ)
        self._reads = reads

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As that of a dict; so are the others."""
        self._note(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:  # noqa: D102
        self._note(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:  # noqa: D102
        self._note(key)
        return super().setdefault(key, default)

    def __iter__(self) -> Iterator[str]:
        self._note_all()
        return super().__iter__()

    def keys(self) -> Any:  # noqa: D102
        self._note_all()
        return super().keys()

    def items(self) -> Any:  # noqa: D102
        self._note_all()
        return super().items()

    def values(self) -> Any:  # noqa: D102
        self._note_all()
        return super().values()

    def copy(self) -> dict[str, Any]:  # noqa: D102
        self._note_all()
        return super().copy()

    def popitem(self) -> tuple[str, Any]:  # noqa: D102
        self._note_all()
        return super().popitem()

    def __reversed__(self) -> Iterator[str]:
        self._note_all()
        return super().__reversed__()

    def __repr__(self) -> str:
        self._note_all()
        return super().__repr__()

    def _note(self, key: str) -> None:
        if key.startswith("HTTP_"):
            self._reads.note(field_name(key))
        elif not (key in _OF_ALL or key.startswith("wsgi.")):
            self._note_all()  # what the server or middleware has put there

    def _note_all(self) -> None:
        note_all(self._reads)


def note_all(reads: ReadLog[str]) -> None:
    """Note in *reads* whatever may tell who asks."""
    for name in (ALL_FIELDS, "cookie", REMOTE_USER):
        reads.note(name)
