"""Values by name: directly, and as the results of decorated functions."""

import datetime
import functools
import hashlib
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask, Response, current_app, g, request, session
from werkzeug.routing import BaseConverter

from flask_larder import Cache, InvalidKey, UnstorableValue
from flask_larder.entries import Entries
from flask_larder.flask.values import Values
from flask_larder.local_purges import LocalPurges
from tests.core.test_engine import FailingStore
from tests.flask.answers import Counter, Get, is_hit


def test_direct_calls(cache: Cache) -> None:
    """get, set, add, has, delete and their plural forms do what Flask-Caching's do."""
    assert cache.get("a") is None
    assert cache.set("a", 1)
    assert cache.get("a") == 1
    assert not cache.add("a", 2)
    assert cache.add("b", None)
    assert cache.has("b")
    assert cache.get_many("a", "b", "c") == [1, None, None]
    assert cache.get_dict("a", "c") == {"a": 1, "c": None}
    assert cache.set_many({"c": 3, "d": 4}, timeout=5) == ["c", "d"]
    assert cache.delete("c")
    assert not cache.delete("c")
    assert cache.delete_many("a", "nothing") == ["a", "nothing"]
    assert cache.get_many("a", "b", "c", "d") == [None, None, None, 4]
    assert cache.clear()
    assert not cache.has("d")


def test_value_comes_back_as_it_went_in(cache: Cache) -> None:
    """Plain data of all kinds keeps its types, and is a copy."""
    value = {
        "tuple": (1, (2.5, b"x")),
        "set": {1, 2},
        ("a", 1): Decimal("1.10"),
        "at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "large": 2**100,
    }
    cache.set("value", value)
    returned = cache.get("value")
    assert returned == value
    assert type(returned["tuple"]) is tuple
    returned["set"].add(3)
    assert cache.get("value") == value


@pytest.mark.parametrize(
    "value", [object(), Response("x"), lambda: 1, {"deep": [object()]}, "\ud800", Exception("x")]
)
def test_what_is_no_data(cache: Cache, value: Any) -> None:
    """Anything that would need pickling is refused with its type and the remedy, and not kept."""
    with pytest.raises(UnstorableValue):
        cache.set("a", value)
    assert not cache.has("a")


@pytest.mark.parametrize("key", [None, 1, b"a"])
def test_key_has_to_be_a_text(cache: Cache, key: Any) -> None:
    """A key that is no text is an error that shows it."""
    with pytest.raises(InvalidKey, match=f"a key is {key!r}"):
        cache.set(key, 1)


def test_any_text_is_a_key(cache: Cache) -> None:
    """Keys of any characters and lengths are kept apart."""
    keys = [
        "",
        " ",
        "a b",
        "a%20b",
        "ü",
        "a\nb",
        "a\0b",
        "#",
        "x" * 5000,
        "x" * 5000 + "y",
        "\ud800",
    ]
    for number, key in enumerate(keys):
        cache.set(key, number)
    assert cache.get_many(*keys) == list(range(len(keys)))


def test_function_under_a_name(app: Flask, cache: Cache, count: Counter) -> None:
    """A function whose key_prefix has no %s is kept as a value, in a request or not."""

    @cache.cached(timeout=50, key_prefix="all_comments")
    def comments() -> list[tuple[int, str]]:
        return [(count(), "first")]

    assert comments() == comments() == [(1, "first")]
    with app.test_request_context("/anywhere"):
        assert comments() == [(1, "first")]
    assert cache.get("all_comments") == [(1, "first")]
    assert cache.delete("all_comments")
    assert comments() == [(2, "first")]


def test_function_with_its_own_key(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A function that is no view is a value too where a function makes the key."""

    @cache.cached(make_cache_key=lambda user: f"user-{user}")
    def load(user: int) -> dict[str, int]:
        return {"user": user, "run": count()}

    @app.get("/<int:user>")
    def view(user: int) -> dict[str, int]:
        return load(user)

    assert get("/1").json == get("/1").json == {"user": 1, "run": 1}
    assert get("/2").json == {"user": 2, "run": 2}
    assert cache.get("user-1") == {"user": 1, "run": 1}


def test_none_is_kept_on_request(cache: Cache, count: Counter) -> None:
    """Without cache_none a None is not kept; with it, it is no miss."""

    @cache.cached(key_prefix="not-kept")
    def not_kept() -> None:
        count()

    @cache.cached(key_prefix="kept", cache_none=True)
    def kept() -> None:
        count()

    for function in (not_kept, not_kept, kept, kept):
        function()
    assert count.runs == 3


def test_options_of_functions(cache: Cache, count: Counter) -> None:
    """unless, forced_update, is_stale and response_filter mean what they mean for views."""
    says = dict.fromkeys(("unless", "forced", "stale"), False)

    @cache.cached(
        key_prefix="value",
        unless=lambda: says["unless"],
        forced_update=lambda: says["forced"],
        is_stale=lambda _: says["stale"],
        response_filter=lambda value: value != 5,
    )
    def value() -> int:
        return count()

    assert (value(), value()) == (1, 1)
    for number, option in enumerate(says, start=2):
        says[option] = True
        assert value() == number
        says[option] = False
    assert value() == 4
    says["forced"] = True
    assert value() == 5
    says["forced"] = False
    assert value() == 4


def test_generator_is_joined(cache: Cache) -> None:
    """A generator's texts are kept as one, as in Flask-Caching."""
    texts = cache.cached(key_prefix="texts")(lambda: (text for text in ("a", "b")))
    mixed = cache.cached(key_prefix="mixed")(lambda: (item for item in ("a", 1)))
    assert texts() == texts() == "ab"
    assert mixed() == mixed() == ["a", 1]


def test_unstorable_result_is_returned(
    cache: Cache, caplog: pytest.LogCaptureFixture, count: Counter
) -> None:
    """A result that is no data reaches the caller; one line in the log says why it is not kept."""

    @cache.cached(key_prefix="object")
    def make() -> object:
        count()
        return Response("x")

    assert isinstance(make(), Response)
    make()
    assert count.runs == 2
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"{__name__}.{make.uncached.__qualname__} is not cached"
    ]


def test_value_that_depends_on_the_user(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that looks at who asks is not kept under a name that all share."""

    @cache.cached(key_prefix="plan")
    def plan() -> str:
        return request.cookies.get("user", "nobody")

    @cache.cached(key_prefix="mine", vary=lambda: request.cookies.get("user"))
    def mine() -> str:
        return request.cookies.get("user", "nobody")

    app.add_url_rule("/", "view", lambda: f"{plan()} {mine()}")
    for user in ("ann", "bob", "ann"):
        assert get("/", headers={"Cookie": f"user={user}"}).data == f"{user} {user}".encode()
    assert "cookie was read, which its key does not hold" in caplog.text
    assert caplog.text.count("is not cached") == 1


def test_value_in_a_request_of_a_user(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A function that does not look at the user is kept, whoever the request is from."""

    @app.before_request
    def before() -> None:
        g.user = session.get("user")

    shared = cache.cached(key_prefix="shared")(lambda: [count()])
    app.add_url_rule("/", "view", lambda: str(shared()))
    assert get("/").data == get("/").data == b"[1]"


def test_response_is_no_value(app: Flask, cache: Cache, get: Get) -> None:
    """A value and a response of one name stand apart; whoever names the key deletes both."""
    cache.set("key", "value")

    @app.get("/")
    @cache.cached(make_cache_key=lambda: "key")
    def view() -> str:
        return "response"

    assert get("/").data == b"response"
    assert cache.get("key") == "value"
    assert cache.delete("key")
    assert not cache.has("key")
    assert not is_hit(get("/"))


def test_pairs_are_values(app: Flask, cache: Cache) -> None:
    """Plain tuples are kept, also in a request, where they could be taken for responses."""
    pairs: dict[str, Any] = {"size": (640, 480), "page": ([1, 2], {"total": 2}), "one": (1, 200)}
    for name, pair in pairs.items():
        with app.test_request_context("/"):
            assert cache.cached(key_prefix=name)(lambda pair=pair: pair)() == pair
        assert cache.get(name) == pair


def test_a_look_for_a_value_that_has_failed_has_seen_nothing() -> None:
    """Else it would be taken for one that came before a purge of which nobody has heard here."""
    log, store = LocalPurges(10, lambda: 1000.0), FailingStore(lambda _: True)
    values = Values(store, Entries(store), log, hashlib.sha256)
    assert values.look("key") == (None, None)
    store = FailingStore(lambda _: False)
    values = Values(store, Entries(store), log, hashlib.sha256)
    assert values.look("key") == (None, log.position())


def repeated(number: Any = 3, times: int = 2) -> str:
    """The same."""
    return str(number) * times


def double(number: int, times: int = 2) -> int:
    """What a key without its arguments mixes up."""
    return number * times


KEYED = {"make_cache_key": lambda number, times=2: f"{number} {times}"}


OTHER = "other arguments, and got what was kept for the first ones"
UNKNOWN = "arguments that cannot be told apart, and may have got what was kept for others"


@pytest.mark.parametrize(
    ("options", "calls", "told"),
    [
        ({"key_prefix": "double"}, [(4,), (5,)], OTHER),
        ({}, [(4,), (5,)], OTHER),
        ({"key_prefix": "double"}, [(4,), (4, 3)], OTHER),
        ({"key_prefix": "double"}, [(4,), ()], OTHER),
        ({"key_prefix": "double"}, [(4,), (4, 2)], None),
        (KEYED, [(4,), (5,)], None),
        ({"key_prefix": lambda: "double"}, [(4,), (5,)], None),
        ({"key_prefix": "double"}, [([4],), ([5],)], UNKNOWN),
        ({"key_prefix": "double"}, [([4],), (4,)], UNKNOWN),
        ({"key_prefix": "double", "vary": lambda: "ann"}, [([4],), ([4],)], None),
        ({}, [([4],), ([4],)], None),  # its key is that of the page
        (
            {"key_prefix": "double"},
            [(ValueError(),), (ValueError(),)],
            None,
        ),  # as of error handlers
    ],
)
def test_arguments_that_the_key_ignores_are_told(
    app: Flask,
    cache: Cache,
    get: Get,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    calls: list[tuple[Any, ...]],
    told: str | None,
) -> None:
    """Once, when a call gets what was kept for one with other arguments."""
    called = cache.cached(**options)(repeated)

    @app.get("/")
    def view() -> str:
        return " ".join(called(*args) for args in [*calls, *calls])

    get("/")
    line = f"repeated was called with {told}, since its key holds none: give make_cache_key="
    assert [each.endswith(line) for each in caplog.messages] == [True] * bool(told)


class Model:
    """What a converter makes of a part of a URL."""


class ModelConverter(BaseConverter):
    def to_python(self, value: str) -> Model:
        return Model()


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ({"key_prefix": "item"}, True),
        ({"key_prefix": "items/%s"}, False),
        ({"make_cache_key": lambda **_: f"item {request.path}"}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("rule", ["/item/<int:number>", "/item/<model:number>"])
def test_arguments_of_a_view_that_its_key_ignores_are_told(
    app: Flask,
    cache: Cache,
    get: Get,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    is_told: bool,
    rule: str,
) -> None:
    """Those of the URL, which only a name leaves out."""
    app.url_map.converters["model"] = ModelConverter

    @app.get(rule)
    @cache.cached(**options)
    def item(number: object) -> str:
        return f"{number}"

    for number in (1, 1, 2, 2, 3):
        get(f"/item/{number}")
    assert len(caplog.messages) == is_told


def test_a_line_about_arguments_that_cannot_be_written_spoils_no_answer(
    app: Flask, cache: Cache, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as where a disk is full."""

    def fail(_: logging.LogRecord) -> bool:
        raise OSError("no space left on device")

    app.add_url_rule("/<int:n>", "view", cache.cached(key_prefix="name")(lambda n: f"page {n}"))
    monkeypatch.setattr(logging.getLogger("flask_larder"), "filters", [fail])
    assert [get(f"/{n}").text for n in (1, 2)] == ["page 1", "page 1"]


@pytest.mark.parametrize("options", [{}, {"key_prefix": "page"}])
def test_arguments_that_a_decorator_makes_are_told(
    app: Flask,
    cache: Cache,
    get: Get,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
) -> None:
    """The URL does not hold them; also where something was learned of that."""

    def with_language(view: Callable[[str], str]) -> Callable[[], str]:
        return functools.wraps(view)(lambda: view(request.headers.get("X-Language", "en")))

    @app.get("/")
    @with_language
    @cache.cached(**options)
    def page(language: str) -> str:
        return f"in {language}"

    assert [get("/").text for _ in range(4)] == ["in en"] * 4
    assert caplog.messages == []
    get("/", headers={"X-Language": "tr"})
    assert len(caplog.messages) == 1


def test_who_asks_a_method_is_no_argument(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    """All instances share what is kept; that is for the developer to say."""

    class Shop:
        @cache.cached(key_prefix="prices")
        def prices(self) -> int:
            return 3

    assert [Shop().prices(), Shop().prices()] == [3, 3]
    assert caplog.messages == []


def test_what_another_function_has_kept_tells_nothing_of_arguments(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    """Two may share a name on purpose."""
    one = cache.cached(key_prefix="shared")(double)
    other = cache.cached(key_prefix="shared")(lambda number: int(number))
    assert [one(4), other(5)] == [8, 8]
    assert caplog.messages == []


class Stock:
    """A method of it is another one for each object."""

    def __init__(self, number: int) -> None:
        self.number = number

    def total(self) -> int:
        return self.number

    __call__ = total


def by_default(number: Any) -> Callable[[], int]:
    def total(number: Any = number) -> int:
        return number[0] if isinstance(number, list) else int(number)

    return total


def test_functions_of_one_name_are_told_apart_by_their_defaults(
    app: Flask, cache: Cache, get: Get
) -> None:
    """As those that a loop has made."""
    runs = app.extensions["runs"] = Counter()

    def made(number: int) -> Callable[[], str]:
        @cache.cached()
        def total(number: int = number) -> str:
            return f"{number} by run {current_app.extensions['runs']()}"

        return total

    totals = [made(number) for number in (1, 2)]
    app.add_url_rule("/", "view", lambda: ", ".join(total() for total in totals))
    for _ in range(2):
        assert get("/").text == "1 by run 1, 2 by run 2"
    assert runs() == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda number: lambda: number,
        lambda number: Stock(number).total,
        Stock,
        lambda number: functools.partial(double, number, 1),
        lambda number: by_default([number]),
        lambda number: eval(f"lambda: {number}"),
    ],
)
def test_functions_of_one_name_share_nothing(
    app: Flask,
    cache: Cache,
    get: Get,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[int], Callable[[], int]],
) -> None:
    """Their name is all that tells them apart in the key of a page."""
    first, second = (cache.cached()(make(number)) for number in (1, 2))
    app.add_url_rule("/", "view", lambda: f"{first()} {second()}")
    assert [get("/").text for _ in range(2)] == ["1 2", "1 2"]
    (line,) = caplog.messages
    assert "there may be several of its name; give key_prefix=" in line


def test_what_is_made_for_head_is_for_no_other(app: Flask, cache: Cache, get: Get) -> None:
    """It may have left out what takes long; but what GET has made will do for it."""
    app.extensions["made"] = Counter()

    @cache.cached()
    def rows() -> str:
        return f"{request.method} {current_app.extensions['made']()}"

    app.add_url_rule("/", "view", lambda: Response(rows(), headers={"X-Rows": rows()}))
    assert get("/", method="HEAD").headers["X-Rows"] == "HEAD 2"
    assert get("/").text == "GET 3"
    assert get("/", method="HEAD").headers["X-Rows"] == "GET 3"


@pytest.mark.parametrize("digest", [hashlib.sha256, hashlib.md5])
@pytest.mark.parametrize("name", ["page", "page" * 100])
@pytest.mark.parametrize("forget", ["delete", "delete_many"])
def test_to_delete_a_page_forgets_its_variants(
    app: Flask, get: Get, forget: str, name: str, digest: Any
) -> None:
    """Also those that come back when one of them is made anew, however its key is shortened."""
    made, cache = Counter(), Cache(app, config={"CACHE_HASH_METHOD": digest})

    @app.get("/")
    @cache.cached(key_prefix=name)
    def page() -> str:
        return f"{request.accept_languages.best_match(['de', 'tr'])} {made()}"

    def ask(language: str) -> str:
        return get("/", headers={"Accept-Language": language}).text

    assert (ask("de"), ask("tr"), ask("de")) == ("de 1", "tr 2", "de 1")
    getattr(cache, forget)(name)
    assert (ask("de"), ask("tr")) == ("de 3", "tr 4")


def test_what_clients_send_makes_no_lines(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """One for each reason, and a thousand at most."""

    @cache.cached(key_prefix="text")
    def text() -> str:
        return "\ud800".rjust(int(request.args["at"]))

    app.add_url_rule("/", "view", lambda: str(len(text())))
    for number in range(5):
        assert get(f"/?at={number + 1}").text == str(number + 1)
    assert len(caplog.messages) == 1
    wiring = next(iter(app.extensions["flask_larder"].values()))
    told = [wiring.is_first(str(number)) for number in range(2000)]
    assert told == sorted(told, reverse=True)
    assert len(wiring.warned) == 1000


def test_head_parts_nobody(app: Flask, cache: Cache, get: Get) -> None:
    """What it makes is kept for nobody, and is no failure after which all run."""
    runs = app.extensions["runs"] = Counter()

    @cache.cached()
    def rows() -> int:
        return current_app.extensions["runs"]()

    app.add_url_rule("/", "view", lambda: str(rows()))
    for _ in range(3):
        get("/", method="HEAD")
    coalescer = next(iter(app.extensions["flask_larder"].values())).coalescer_of_values
    assert not coalescer._flights()._failures
    assert runs() == 4
