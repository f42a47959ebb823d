"""Work (h): hits, and the memory of Redis, by the number of entries in it."""

from pathlib import Path

from benchmarks import load
from benchmarks.contenders import Contender, named
from benchmarks.hot import check_runs
from benchmarks.notebook import Notebook, say
from benchmarks.processes import NoStartError
from benchmarks.rounds import Effort, interleaved
from benchmarks.stage import Redis, Running, Stage, WrongAnswerError
from benchmarks.zipf import script

SIZES = (100, 10_000, 1_000_000)
QUICK_SIZES = (100, 100_000)
FIRST = 1_000_000  # keys all have seven digits, so that they are equally long
ASKED = 5_000
ENOUGH = 10_000  # of fewer entries, the memory is lost in what Redis takes for its own tables
BATCH = 10_000
CONTENDERS = ("larder", "larder-redis", "caching")

# Copies a value to keys with consecutive numbers, within Redis. KEYS[1]: the key up to its number;
# KEYS[2]: the key with the value. ARGV: the first number, and the one after the last.
COPY = """
local value = redis.call('GET', KEYS[2])
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do
    redis.call('SET', KEYS[1] .. string.format('%d', number), value, 'EX', 3600)
end
"""


def run(notebook: Notebook, effort: Effort) -> None:
    """Measure: all sizes stand at the same time, and are asked in turn."""
    sizes = QUICK_SIZES if effort.is_quick else SIZES
    notebook.facts["sizes"] = list(sizes)
    with Stage(notebook) as stage:
        running: list[tuple[int, Running, Path]] = []
        for size in sizes:
            for contender in named(*CONTENDERS):
                running += _start(stage, notebook, contender, size)
        for size, each, lua in interleaved(running, effort.rounds):
            say(f"(h) {each.name}, {size} entries")
            _measure(notebook, size, each, lua, effort.seconds)


def _start(
    stage: Stage, notebook: Notebook, contender: Contender, size: int
) -> list[tuple[int, Running, Path]]:
    say(f"(h) {contender.name}: stores {size} entries")
    redis = stage.redis()
    try:
        each = stage.start_one(contender, redis=redis)
    except NoStartError as error:
        notebook.leave_out(contender.name, str(error))
        return []
    memory = fill(each, redis, size)
    if size >= ENOUGH:
        notebook.add("h", _row(contender.name, size), redis_bytes_per_entry=memory)
    directory = stage.directory / f"{contender.name}-{size}"
    directory.mkdir()
    numbers = _numbers(size)
    for path in [f"/square/{number}" for number in numbers for _ in range(2)]:
        each.client.get(path)  # what is asked for the first time goes another way
    return [(size, each, script(directory, numbers))]


def _numbers(size: int) -> list[int]:
    """Which are asked for, in an order that is the same in each run: not one after the other."""
    step = max(1, size // ASKED)
    return [FIRST + (number * 7919) % (size // step) * step for number in range(min(size, ASKED))]


def fill(each: Running, redis: Redis, size: int) -> float:
    """Store so many copies of a response under other keys; the bytes of memory that one takes."""
    each.prime(f"/square/{FIRST}")
    (key,) = redis.client.keys(f"*/square/{FIRST}")
    assert isinstance(key, bytes)  # noqa: S101 - this client decodes nothing
    prefix = key.removesuffix(str(FIRST).encode())
    copy = redis.client.register_script(COPY)
    copy(keys=[prefix, key], args=[0, 0])  # the script itself takes memory, too
    before = redis.client.info("memory")["used_memory"]
    for first in range(FIRST + 1, FIRST + size, BATCH):
        copy(keys=[prefix, key], args=[first, min(first + BATCH, FIRST + size)])
    if redis.client.exists(prefix + str(FIRST + size - 1).encode()) != 1:
        raise WrongAnswerError(f"{each.name}: Redis does not have {size} entries")
    after = redis.client.info("memory")["used_memory"]
    return float(after - before) / (size - 1)


def _measure(notebook: Notebook, size: int, each: Running, lua: Path, seconds: float) -> None:
    """One client, one request after the other. From memory, it asks for one key only."""
    if each.name == "larder":
        each.prime(f"/square/{FIRST}")
        path, asks = f"/square/{FIRST}", None
    else:
        path, asks = "", lua
    runs = each.runs()
    seen = load.wrk(f"http://127.0.0.1:{each.port}{path}", seconds, connections=1, script=asks)
    check_runs(each, notebook, each.runs() - runs, seen.requests)
    notebook.add(
        *("h", _row(each.name, size)),
        p50_us=seen.percentiles_us[50],
        p99_us=seen.percentiles_us[99],
        mean_us=1e6 / seen.per_second,
    )


def _row(name: str, size: int) -> str:
    return f"{name}, {size} entries"
