"""With how many threads a contender is measured."""

import pytest

from benchmarks import best
from benchmarks.contenders import ALL
from benchmarks.notebook import Notebook


def test_each_has_what_is_best_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that do the same have the same; the page says what was tried."""
    seen = {name: {1: 300.0, 2: 200.0, 4: 100.0} for name in best._ALIKE}
    seen["larder-redis"] = {1: 100.0, 2: 300.0, 4: 200.0}
    seen["uncached"] = {1: 91.0, 2: 100.0, 4: 97.0}
    seen["larder-inside"] = {1: 100.0, 2: 200.0, 4: 300.0}
    monkeypatch.setattr(best, "_by_threads", lambda _, name, __: seen[name])
    notebook = Notebook()
    chosen = best.blocking_threads(notebook, rounds=3)
    assert (chosen["larder"], chosen["constant"], chosen["larder-redis"]) == (1, 1, 2)
    assert chosen["uncached"] == 1  # the fewest of those that are as good
    assert (chosen["larder-inside"], chosen["larder-hooks"]) == (4, 4)
    assert chosen.keys() == {each.name for each in ALL if each.server == "granian"}
    told = notebook.facts["granian's blocking threads, by hits/s"]
    assert told["larder-redis"] == "2 (1: 100, 2: 300, 4: 200)"
