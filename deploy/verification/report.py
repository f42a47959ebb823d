"""The table of what was checked."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class Failure(Exception):
    """Something is not as it should be; says what was seen."""


def expect(truth: object, seen: str) -> None:
    """Fail with what was seen unless the first is true."""
    if not truth:
        raise Failure(seen)


def wait_for(what: str, look: Callable[[], T], *, seconds: float = 30.0) -> T:
    """Call *look* until it returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)
    return seen


@dataclass(slots=True)
class Row:
    """One check: its name, what was seen, how long it took, whether it holds."""

    name: str
    seen: list[str] = field(default_factory=list)
    seconds: float = 0.0
    holds: bool = False

    def saw(self, *facts: str) -> None:
        """Note facts for the table."""
        self.seen.extend(facts)


class Report:
    """The rows so far. A check that fails is noted, and the next one goes on."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[Row]:
        """Time what is done inside, and note how it ended."""
        row = Row(name)
        self.rows.append(row)
        print(f"… {name}", flush=True)
        began = time.monotonic()
        try:
            yield row
            row.holds = True
        except Failure as failure:
            row.saw(str(failure))
        except Exception as error:  # noqa: BLE001 - a table with a hole beats no table
            row.saw(f"{type(error).__name__}: {error}")
        row.seconds = time.monotonic() - began
        print(f"  {row.seconds:.1f} s, {'ok' if row.holds else 'FAILED'}: {'; '.join(row.seen)}")

    @property
    def holds(self) -> bool:
        """Whether every check held."""
        return all(row.holds for row in self.rows)

    def table(self) -> str:
        """The rows as Markdown."""
        lines = ["| check | seen | seconds | |", "| --- | --- | ---: | --- |"]
        lines += [
            f"| {row.name} | {'; '.join(row.seen).replace('|', '/')} | {row.seconds:.1f} "
            f"| {'ok' if row.holds else 'FAILED'} |"
            for row in self.rows
        ]
        return "\n".join(lines)
