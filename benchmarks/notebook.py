"""What was measured: values by work, contender and measure, one for each round."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import figures


@dataclass(frozen=True, slots=True)
class Series:
    """One measure of one contender in one kind of work, with a value for each round."""

    work: str
    contender: str
    measure: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of its rounds."""
        return figures.median(self.values)


@dataclass(slots=True)
class Notebook:
    """Takes down values, and what is to be said beside them."""

    facts: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    _values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)

    def add(self, work: str, contender: str, /, **values: float) -> None:
        """Take down one value for each measure. A name ends in its unit, where it has one."""
        for measure, value in values.items():
            self._values.setdefault((work, contender, measure), []).append(value)

    def remark(self, text: str) -> None:
        """Say something now, and in the report, once."""
        if text not in self.remarks:
            self.remarks.append(text)
            say(text)

    def leave_out(self, contender: str, reason: str) -> None:
        """Note that a contender does not take part."""
        if contender not in self.left_out:
            self.left_out[contender] = reason
            say(f"LEFT OUT: {contender}: {reason}")

    def series(self, work: str, contender: str, measure: str) -> Series | None:
        """The values of one measure, or None where it was not measured."""
        values = self._values.get((work, contender, measure))
        return Series(work, contender, measure, tuple(values)) if values else None

    def all(self) -> list[Series]:
        """Everything, in the order in which it was first measured."""
        return [Series(*names, tuple(values)) for names, values in self._values.items()]

    def contenders(self, work: str) -> list[str]:
        """Who was measured in this work."""
        return list(dict.fromkeys(each for at, each, _ in self._values if at == work))

    def as_json(self) -> Mapping[str, Any]:
        """For results.json."""
        return {
            "facts": self.facts,
            "remarks": self.remarks,
            "left_out": self.left_out,
            "series": [
                {"work": work, "contender": contender, "measure": measure, "values": values}
                for (work, contender, measure), values in self._values.items()
            ],
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> "Notebook":
        """What was written before."""
        notebook = cls(data["facts"], data["remarks"], data["left_out"])
        for each in data["series"]:
            notebook._values[each["work"], each["contender"], each["measure"]] = each["values"]
        return notebook


def say(text: str) -> None:
    """Tell whoever waits for the results."""
    sys.stderr.write(f"{text}\n")
