"""Work (c): many keys, of which few are asked for often, and an L1 that holds a tenth of them."""

import itertools
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks import load
from benchmarks.client import Client
from benchmarks.contenders import named
from benchmarks.hot import check_runs
from benchmarks.notebook import Notebook, say
from benchmarks.rounds import SEED, Effort, interleaved
from benchmarks.stage import Running, Stage
from flask_larder.codec import decode_entry
from flask_larder.memory import L1

KEYS = 20_000
DRAWS = 200_000
EXPONENT = 1.0
L1_SHARE = 10
OTHERS = ("larder-redis", "caching", "nginx", "varnish")

# Each run asks for the same, from the beginning of the list.
SCRIPT = """\
local requests = {{}}
local at = 0
function init(args)
    for line in io.lines("{file}") do
        requests[#requests + 1] = wrk.format("GET", "/square/" .. line)
    end
end
function request()
    at = at % #requests + 1
    return requests[at]
end
"""


def draw(keys: int, count: int) -> list[int]:
    """Draw *count* numbers below *keys*, of which the one at rank r comes 1/r times as often."""
    chance = random.Random(SEED)  # noqa: S311 - a sample, no secret
    weights = itertools.accumulate(1 / rank**EXPONENT for rank in range(1, keys + 1))
    return chance.choices(range(keys), cum_weights=list(weights), k=count)


def script(directory: Path, numbers: Iterable[int]) -> Path:
    """Write a script for wrk that asks for the squares of these, in this order, again and again."""
    file, lua = directory / "numbers.txt", directory / "numbers.lua"
    file.write_text("".join(f"{number}\n" for number in numbers), "ascii")
    lua.write_text(SCRIPT.format(file=file), "ascii")
    return lua


def run(notebook: Notebook, effort: Effort, threads: Mapping[str, int]) -> None:
    """Measure."""
    keys = KEYS // 10 if effort.is_quick else KEYS
    notebook.facts["zipf"] = {"keys": keys, "exponent": EXPONENT, "draws": DRAWS}
    with Stage(notebook, threads=threads) as stage:
        size = l1_bytes(stage, keys // L1_SHARE)
        notebook.facts["zipf"]["CACHE_L1_BYTES"] = size
        running = stage.start(named("larder"), settings={"CACHE_L1_BYTES": str(size)})
        running += stage.start(named(*OTHERS))
        lua = script(stage.directory, draw(keys, DRAWS))
        for each in running:
            say(f"(c) {each.name}: stores {keys} keys")
            fill(each.port, keys)
            load.wrk(f"http://127.0.0.1:{each.port}", 1, script=lua)
        for each in interleaved(running, effort.rounds):
            say(f"(c) {each.name}")
            _measure(notebook, each, lua, effort.seconds)


def l1_bytes(stage: Stage, entries: int) -> int:
    """How many bytes the first tier takes for so many responses of this application."""
    larder = stage.start(named("larder"))[0]
    larder.prime("/square/10000")
    assert larder.redis  # noqa: S101 - Flask-Larder has one
    (key,) = larder.redis.client.keys("*/square/10000")
    data = larder.redis.client.get(key)
    assert isinstance(key, bytes) and isinstance(data, bytes)  # noqa: S101, PT018 - just found
    tier = L1(max_bytes=2**30, seconds=60, clock=lambda: 0.0)
    tier.put(key.decode(), decode_entry(data))
    return tier.here().size_bytes * entries


def fill(port: int, keys: int) -> None:
    """Have everything stored, that which comes often last."""
    with Client(port) as client:
        for number in reversed(range(keys)):
            client.get(f"/square/{number}")


def _measure(notebook: Notebook, each: Running, lua: Path, seconds: float) -> None:
    runs, gets = each.runs(), _gets(each)
    seen = load.wrk(f"http://127.0.0.1:{each.port}", seconds, script=lua)
    check_runs(each, notebook, each.runs() - runs, seen.requests)
    notebook.add(
        *("c", each.name),
        per_second=seen.per_second,
        saturated_p50_us=seen.percentiles_us[50],
        saturated_p99_us=seen.percentiles_us[99],
    )
    if each.name == "larder":
        notebook.add("c", each.name, memory_share=1 - (_gets(each) - gets) / seen.requests)


def _gets(each: Running) -> int:
    """How many times its Redis was asked for an entry."""
    if each.redis is None:
        return 0
    stats = each.redis.client.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("get", "mget"))
