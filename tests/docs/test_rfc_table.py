"""The table of RFC 9111 names every section, and only what is there."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rfc9111.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text("utf-8").splitlines()
    if re.match(r"\| \d", line)
]
SECTIONS = [
    *("1", "1.1", "1.2", "1.2.1", "1.2.2", "2", "3", *(f"3.{n}" for n in range(1, 6)), "4", "4.1"),
    *("4.2", *(f"4.2.{n}" for n in range(1, 5)), "4.3", *(f"4.3.{n}" for n in range(1, 6))),
    *("4.4", "5", "5.1", "5.2", "5.2.1", *(f"5.2.1.{n}" for n in range(1, 8))),
    *("5.2.2", *(f"5.2.2.{n}" for n in range(1, 11)), "5.2.3", "5.2.4", "5.3", "5.4", "5.5"),
    *("6", "7", "7.1", "7.2", "7.3", "8", "8.1", "8.2", "8.3"),
]


def test_every_section_is_in_the_table() -> None:
    """In the order of the standard."""
    named = [section for row in ROWS for section in row[0].split(", ")]
    assert list(dict.fromkeys(named)) == SECTIONS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_what_the_table_names_is_there(row: list[str]) -> None:
    """A module, or a function or class in one."""
    for name in re.findall(r"`([a-z_0-9]+(?:\.[A-Za-z_]+)+)`", row[3]):
        assert exists(f"flask_larder.{name}"), name


def exists(name: str) -> bool:
    """Whether *name* leads to something, from a module on."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found is not None
    return False
