"""What wrk and h2load print is read, and their errors fail a run."""

import pytest

from benchmarks.load import LoadError, parse_h2load, parse_wrk, percentiles

WRK = """\
Running 3s test @ http://127.0.0.1:8000/square/10
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   214.03us   61.12us   1.61ms   82.67%
    Req/Sec    74.52k     3.54k   81.60k    66.67%
  Latency Distribution
     50%  203.00us
     75%    1.50ms
     90%    2.00s
     99%    1.20m
  222349 requests in 3.00s, 47.50MB read
Requests/sec:  74116.33
Transfer/sec:     15.83MB
"""

H2LOAD = """\
starting benchmark...
finished in 1.00s, 3.00 req/s, 661B/s
requests: 3 total, 3 started, 3 done, 3 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 3 2xx, 0 3xx, 0 4xx, 0 5xx
"""
LOG = "1700000000000001\t200\t1500\n1700000000000002\t200\t900\n1700000000000003\t200\t1200\n"


def test_wrk() -> None:
    """Requests, their rate, and percentiles in microseconds, in whichever unit they are printed."""
    seen = parse_wrk(WRK)
    assert seen.requests == 222_349
    assert seen.per_second == 74_116.33
    assert seen.percentiles_us == {50: 203.0, 75: 1500.0, 90: 2e6, 99: 72e6}


@pytest.mark.parametrize(
    "line",
    [
        "  Non-2xx or 3xx responses: 7\n",
        "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
    ],
)
def test_wrk_with_errors(line: str) -> None:
    """A run that was not answered well is none."""
    with pytest.raises(LoadError, match=line.strip()):
        parse_wrk(WRK.replace("Requests/sec", f"{line}Requests/sec"))


@pytest.mark.parametrize("text", ["", WRK.replace("222349 requests", "0 requests")])
def test_wrk_without_answers(text: str) -> None:
    """Nor is one without answers."""
    with pytest.raises(LoadError, match="no answers"):
        parse_wrk(text)


def test_h2load() -> None:
    """Latencies come from the log, in seconds."""
    latencies = parse_h2load(H2LOAD, LOG)
    assert latencies == [0.0015, 0.0009, 0.0012]
    assert percentiles(latencies) == {"p50_us": 1200.0, "p90_us": 1500.0, "p99_us": 1500.0}


@pytest.mark.parametrize(
    ("text", "log"),
    [
        (H2LOAD.replace("0 failed", "1 failed"), LOG),
        (H2LOAD.replace("0 timeout", "1 timeout"), LOG),
        (H2LOAD, LOG.replace("\t200\t900", "\t503\t900")),
        (H2LOAD, ""),
        ("", LOG),
    ],
)
def test_h2load_with_errors(text: str, log: str) -> None:
    """A run that was not answered well is none."""
    with pytest.raises(LoadError):
        parse_h2load(text, log)
