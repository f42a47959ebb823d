"""Work (a) and (b): one hot key, of 17 bytes and of 40 KB."""

from collections.abc import Mapping, Sequence

from benchmarks import calls, cpu, load
from benchmarks.client import Answer
from benchmarks.contenders import Contender, named
from benchmarks.load import LoadError
from benchmarks.notebook import Notebook, say
from benchmarks.rounds import Effort, interleaved
from benchmarks.stage import Running, Stage, WrongAnswerError

PATHS = {"a": "/square/10", "b": "/page/10"}
WHO = {
    "a": (
        *("larder", "larder-redis", "larder-inside", "larder-inside-redis", "larder-hooks"),
        *("larder-gunicorn", "caching", "caching-simple", "caching-hooks", "caching-gunicorn"),
        *("uncached", "constant", "nginx", "varnish"),
    ),
    "b": (
        *("larder", "larder-redis", "larder-inside", "caching", "caching-gunicorn"),
        *("uncached", "constant", "nginx", "varnish"),
    ),
}
AT_FIXED_RATE = {
    *("larder", "larder-redis", "larder-inside", "caching", "caching-gunicorn", "uncached"),
    *("constant", "nginx", "varnish"),
}
RATE = 1000
MOST_RUNS = 0.01  # of the requests of a run; else it does not measure hits


def run(
    work: str,
    notebook: Notebook,
    effort: Effort,
    gunicorn_class: Sequence[str],
    threads: Mapping[str, int],
) -> None:
    """Measure, each with the class of gunicorn and the threads of granian that are best for it."""
    path = PATHS[work]
    with Stage(notebook, gunicorn_class=gunicorn_class, threads=threads) as stage:
        running = start(stage, named(*WHO[work]), path)
        bodies = {each.name: _settled(each, path).body for each in running}
        _compare(bodies, path)
        for each in interleaved(running, effort.rounds):
            say(f"({work}) {each.name}")
            throughput(work, notebook, each, path, effort.seconds)
            if work == "a" and each.name in AT_FIXED_RATE:
                _at_fixed_rate(stage, notebook, each, path, effort)
    if work == "a":
        calls.note(notebook, work, "hit")


def start(stage: Stage, contenders: Sequence[Contender], path: str) -> list[Running]:
    """Start them; the constant app comes last, with what Flask-Larder answers at *path*."""
    others = [each for each in contenders if each.hit != "constant"]
    running = stage.start(others)
    first = next((each for each in running if each.name == "larder"), None)
    if first and len(others) < len(contenders):
        answer = stage.keep_answer(first.prime(path), "constant")
        running += stage.start(named("constant"), settings=answer)
    return running


def _settled(each: Running, path: str) -> Answer:
    """Have it stored, and the server warm."""
    each.prime(path)
    load.wrk(_url(each, path), 1)
    return each.prime(path)


def _compare(bodies: dict[str, bytes], path: str) -> None:
    for name, body in bodies.items():
        if body != bodies["uncached"]:
            raise WrongAnswerError(f"{name} {path}: {body[:60]!r}, not {bodies['uncached'][:60]!r}")


def _url(each: Running, path: str) -> str:
    return f"http://127.0.0.1:{each.port}{path}"


def throughput(work: str, notebook: Notebook, each: Running, path: str, seconds: float) -> None:
    """One run of wrk, with the processor time that it took."""
    each.prime(path)
    runs, used, redis_used = each.runs(), _used(each), _redis_used(each)
    seen = load.wrk(_url(each, path), seconds)
    used, redis_used = _used(each) - used, _redis_used(each) - redis_used
    check_runs(each, notebook, each.runs() - runs, seen.requests)
    each.check(each.client.get(path), path)
    notebook.add(
        *(work, each.name),
        per_second=seen.per_second,
        cpu_us=used / seen.requests * 1e6,
        redis_cpu_us=redis_used / seen.requests * 1e6,
        saturated_p50_us=seen.percentiles_us[50],
        saturated_p99_us=seen.percentiles_us[99],
    )


def _used(each: Running) -> float:
    return sum(cpu.seconds(pid) for pid in each.pids)


def _redis_used(each: Running) -> float:
    return cpu.seconds(each.redis.process.pid) if each.redis else 0.0


def check_runs(each: Running, notebook: Notebook, runs: int, requests: int) -> None:
    """Raise LoadError where views ran although hits are measured; a few are only remarked."""
    if each.contender.hit in ("none", "constant") or runs == 0:
        return
    notebook.remark(
        f"{each.name}: the view ran {runs} times in {requests} requests that were to be hits"
    )
    if runs > requests * MOST_RUNS:
        raise LoadError(f"{each.name}: these are no hits")


def _at_fixed_rate(
    stage: Stage, notebook: Notebook, each: Running, path: str, effort: Effort
) -> None:
    if each.client.get(path).fields.get("connection", "").lower() == "close":
        notebook.remark(
            f"{each.name} closes its connections, over which h2load cannot keep to a rate"
        )
        return
    log = stage.directory / "h2load.log"
    latencies = load.h2load(_url(each, path), effort.seconds, RATE, log)
    notebook.add("a", each.name, **load.percentiles(latencies))
