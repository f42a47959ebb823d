"""Requests, and what an origin answers to them, from small alphabets, so that they meet often."""

from dataclasses import dataclass, replace
from time import gmtime, strftime

from hypothesis import strategies as st

from tests.core.http_grammar import Fields, lines
from tests.core.http_rules import SAFE, Request, Response

START = 1_700_000_000.0
BODY_LENGTH = 8


@dataclass(frozen=True)
class Step:
    """A request, some seconds after the one before, and what the origin would say to it.

    *answer* is ``None`` where it fails. *not_modified* are the fields of the 304 that it answers
    in place of *answer*, if the request has conditions. *delay* is how many seconds that takes.
    *refreshes* tells whether the cache gets to what it has put off. *number* makes what it sends
    unlike all else.
    """

    wait: float
    request: Request
    answer: Response | None
    not_modified: Fields | None
    delay: float
    refreshes: bool = False
    number: int = 0


def http_date(seconds: float) -> str:
    return strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime(seconds))


def often(value: object, *others: object) -> st.SearchStrategy:
    """*value* half the time, one of the *others* else."""
    return st.sampled_from([value] * len(others) + list(others))


def optional(name: str, *values: str) -> st.SearchStrategy[Fields]:
    """A line of this field half the time."""
    return often((), *(((name, value),) for value in values))


def rarely(name: str, *values: str) -> st.SearchStrategy[Fields]:
    return st.sampled_from([()] * 7 * len(values) + [((name, value),) for value in values])


def sometimes(name: str, *values: str) -> st.SearchStrategy[Fields]:
    return st.sampled_from([()] * 2 * len(values) + [((name, value),) for value in values])


def joined(*parts: st.SearchStrategy[Fields]) -> st.SearchStrategy[Fields]:
    return st.tuples(*parts).map(lambda found: tuple(line for part in found for line in part))


def mixed(*weighted: tuple[int, st.SearchStrategy]) -> st.SearchStrategy:
    """One of these, as often as its number says."""
    choices = [choice for count, choice in weighted for _ in range(count)]
    return st.integers(0, len(choices) - 1).flatmap(lambda number: choices[number])


METHODS = ("GET",) * 12 + ("HEAD",) * 4 + ("POST", "DELETE", "OPTIONS", "FOO")
URLS = ("http://api.example/a",) * 5 + ("http://api.example/b",)
ASKED = (
    *("no-cache", "no-store", "max-age=0", "max-age=5", "max-age=30", "max-stale", "max-stale=5"),
    *("max-stale=100", "min-fresh=5", "only-if-cached", "max-age=5, max-stale=20", "foo=bar"),
    *("max-age=x", 'max-age="5"', "no-cache, only-if-cached", "stale-if-error=100", "MAX-AGE=5"),
    *(
        "max-age=30",
        "max-age=30",
        "max-stale=x",
        "min-fresh=x",
        "max-stale, only-if-cached",
        "min-fresh=5, max-stale=9",
    ),
)
# Not for unsafe methods: what becomes of these is up to the adapter.
ONLY_STORED = {("cache-control", value) for value in ASKED if "only-if-cached" in value}

any_requests = st.builds(
    Request,
    st.sampled_from(METHODS),
    st.sampled_from(URLS),
    joined(
        optional("x-v", "1", "2"),
        rarely("x-w", "1"),
        rarely("accept-language", "de", "en", "de,en", "de, EN"),
        rarely("authorization", "Bearer t"),
        rarely("cache-control", *ASKED),
        rarely("pragma", "no-cache", "foo"),
        rarely("if-none-match", '"a"', '"b", W/"c"', "*"),
        rarely("if-modified-since", http_date(START - 1000), http_date(START + 5), "yesterday"),
    ),
    st.sampled_from([False] * 19 + [True]),
).filter(lambda request: request.method in SAFE or not ONLY_STORED & set(request.fields))

# These select the same, and so meet the same response.
similar_requests = st.builds(
    Request,
    st.sampled_from(("GET",) * 5 + ("HEAD",)),
    st.just(URLS[0]),
    joined(rarely("x-v", "1"), sometimes("cache-control", *ASKED)),
)
requests = mixed((1, similar_requests), (1, any_requests))


STATUSES = (200,) * 30 + (203, 204, 206, 299, 301, 302, 404, 410, 418, 499, 500, 502, 503, 504, 599)
LIFETIMES = ("max-age=10", "max-age=60", "s-maxage=10", "s-maxage=60", "max-age=5", "max-age=0")
DIRECTIVES = (
    *LIFETIMES,
    *LIFETIMES,
    *("no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate"),
    *("must-understand", "must-understand, no-store", "stale-while-revalidate=20"),
    *("stale-if-error=20", "stale-if-error=5000", 'private="x-a"', 'no-cache="X-A, x-b"'),
    *('private="set-cookie"', "no-cache=x-a", 'private="etag"', 'no-cache="last-modified"'),
    *('max-age="10"', "max-age=1.5", "max-age=-1", "max-age", "max-age=99999999999", "max-age=²"),
    *("s-maxage=x", "MAX-AGE=60", "foo", 'foo="no-store, private"', "max-age =60", "immutable"),
    *("stale-while-revalidate=x", 'private=""', 'foo="bar', 'private="x-a', "no-store=1", ""),
)

controls = st.lists(st.sampled_from(DIRECTIVES), min_size=1, max_size=3).flatmap(
    lambda found: st.sampled_from(
        [
            (("Cache-Control", ", ".join(found)),),
            tuple(("Cache-Control", one) for one in found),
            (("cache-control", ",".join(found)),),
        ]
    )
)
simple_controls = st.sampled_from(
    [
        (("Cache-Control", f"{lifetime}{more}"),)
        for lifetime in LIFETIMES
        for more in (
            *("", "", ", stale-if-error=5000", ", stale-while-revalidate=20", ", must-revalidate"),
            *(", stale-while-revalidate=20", ", must-understand"),
        )
    ]
)
tags = optional("ETag", '"a"', '"a"', '"b"', 'W/"a"', "unquoted")
modified = optional("Last-Modified", http_date(START - 1000), http_date(START - 10**7), "0")
dates = often((("Date", "@0"),), (), (("Date", "@-30"),), (("Date", "@+30"),), (("Date", "x"),))
ages = rarely("Age", "3", "8, 2", "x", "-1", "60")
expiries = rarely("Expires", "@+10", "@+60", "@-10", "0")
varies = rarely("Vary", "x-v", "X-V", "x-v, x-w", "accept-language", "*", ", *", "x-v, *", "")
others = joined(
    optional("X-A", "x-a@number"),
    rarely("X-B", "x-b@number"),
    rarely("Set-Cookie", "user@number"),
    rarely("Connection", "close", "X-A", "x-b, close"),
    rarely("Content-Length", "@length"),
)


any_answers = st.builds(
    Response,
    st.sampled_from(STATUSES),
    joined(
        mixed((4, simple_controls), (4, controls), (1, st.just(()))),
        *(tags, modified, dates, ages, expiries, varies, others),
    ),
)

lasting_answers = st.builds(
    Response,
    st.sampled_from((200,) * 9 + (299, 404, 503, 503)),
    joined(
        simple_controls,
        optional("ETag", '"a"', '"b"'),
        *(st.just((("Date", "@0"),)), rarely("Vary", "x-v"), others),
    ),
)
answers = mixed((1, lasting_answers), (1, any_answers))

not_modified = joined(
    mixed((2, st.just(())), (1, simple_controls), (1, controls)),
    often((("ETag", "@tag"),), (), (("ETag", '"b"'),), (("ETag", 'W/"a"'),)),
    often((), (("Last-Modified", "@since"),)),
    *(dates, ages, expiries, others),
    rarely("Vary", "x-v"),
    rarely("Content-Length", "0", "7"),
)

steps = st.builds(
    Step,
    st.sampled_from([0.0, 1.0, 1.0, 4.0, 5.0, 9.5, 10.0, 11.0, 11.0, 31.0, 61.0, 3000.0, -3.0]),
    requests,
    mixed((9, answers), (1, st.none())),
    mixed((2, not_modified), (1, st.none())),
    st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.5, 6.0]),
    st.booleans(),
)


def numbered(story: list[Step]) -> list[Step]:
    return [replace(step, number=number) for number, step in enumerate(story)]


stories = st.lists(steps, min_size=2, max_size=7).map(numbered)


def sent(step: Step, conditions: Fields, now: float) -> Response | None:
    """What the origin answers at *now* to the request of *step* with these conditions."""
    if step.not_modified is not None and conditions:
        fields = (line(one, step, conditions, now) for one in step.not_modified)
        return Response(304, tuple((name, value.replace(";", "-304;")) for name, value in fields))
    if step.answer is None:
        return None
    body = b"" if step.request.method == "HEAD" else body_of(step)
    fields = tuple(line(one, step, conditions, now) for one in step.answer.fields)
    return replace(step.answer, fields=fields, body=body)


def body_of(step: Step) -> bytes:
    return f"<body{step.number:02}>".encode()


def line(one: tuple[str, str], step: Step, conditions: Fields, now: float) -> tuple[str, str]:
    name, value = one
    if value == "@tag":
        value = ([tag for tag in lines(conditions, "if-none-match") if tag != "*"] or ['"a"'])[0]
    elif value == "@since":
        value = (lines(conditions, "if-modified-since") or [http_date(START - 1000)])[0]
    elif value == "@length":
        value = str(BODY_LENGTH)
    elif value.startswith("@"):
        value = http_date(now + float(value[1:]))
    return name, value.replace("@number", f"-{step.number};")
