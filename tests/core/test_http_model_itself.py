"""The model of a shared cache, on the examples that the RFCs give, and on the rules one by one."""

import pytest

from tests.core.http_grammar import (
    Directive,
    age_value,
    delta_seconds,
    directives,
    entity_tags,
    http_date,
    is_entity_tag,
    members,
    weakly_equal,
)
from tests.core.http_model import SharedCache
from tests.core.http_rules import (
    Exchange,
    Moment,
    Request,
    Response,
    is_not_modified,
    why_not_stored,
)

NOW = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
URL = "http://api.example/a"
GET = Request("GET", URL)


def at(seconds: float) -> Moment:
    return Moment(NOW + seconds, seconds)


def ok(control: str = "max-age=10", *fields: tuple[str, str], status: int = 200) -> Response:
    lines = (("Cache-Control", control),) if control else ()
    return Response(status, (*lines, *fields), b"body")


def asking(method: str = "GET", **fields: str) -> Request:
    named = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Request(method, URL, named)


def cache(*exchanges: tuple[Request, Response, float]) -> SharedCache:
    """A cache that has seen these, each at a second and without delay."""
    return SharedCache(
        [
            Exchange(request, response, at(seconds), at(seconds))
            for request, response, seconds in exchanges
        ]
    )


def is_sent(
    response: Response, seconds: float = 1, presented: Request = GET, first: Request = GET
) -> bool:
    """Whether *response*, received at 0, may be sent then without validation."""
    return bool(cache((first, response, 0)).reusable(presented, at(seconds)))


def test_lists_have_empty_members() -> None:
    """RFC 9110 section 5.6.1.2, its examples."""
    assert members("foo,bar") == ["foo", "bar"]
    assert members("foo ,bar,") == ["foo", "bar"]
    assert members("foo , ,bar,charlie") == ["foo", "bar", "charlie"]
    assert members(",   ,") == []


def test_directives_take_tokens_and_quoted_strings() -> None:
    """RFC 9111 sections 5.2 and 5.2.3, its example; and what a comma in quotes is."""
    assert directives(['private, Community="UCI"']) == [
        Directive("private", None),
        Directive("community", "UCI", is_quoted=True),
    ]
    assert directives([r'no-cache="a, \"b"']) == [Directive("no-cache", 'a, "b', is_quoted=True)]
    assert [one.name for one in directives(['a="b, no-store', "max-age=1"])] == [
        *("a", "no-store", "max-age")
    ]


@pytest.mark.parametrize("text", ["-1", "1.5", "", "1 0", "+1", "²", "0x1", None])
def test_delta_seconds_are_digits(text: str | None) -> None:
    """RFC 9111 section 1.2.2."""
    assert delta_seconds(text) is None


def test_delta_seconds_do_not_overflow() -> None:
    """RFC 9111 section 1.2.2."""
    assert delta_seconds("010") == 10
    assert delta_seconds("9" * 100) == 2**31


def test_the_first_age_counts() -> None:
    """RFC 9111 section 5.1."""
    assert age_value(["3, 4", "5"]) == 3
    assert age_value(["x, 4"]) == age_value(["-1"]) == age_value([]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "sun, 06 nov 1994 08:49:37 gmt",
    ],
)
def test_dates_have_three_forms(text: str) -> None:
    """RFC 9110 section 5.6.7, its examples, and RFC 9111 section 4.2: in any case."""
    assert http_date(text, NOW) == 784111777


@pytest.mark.parametrize(
    "text",
    [
        *("0", "", "784111777", "Sun, 06 Nov 1994 08:49:37 EST", "Sun, 6 Nov 1994 08:49:37 GMT"),
        *(
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
        ),
        *("Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "06 Nov 1994"),
    ],
)
def test_other_dates_are_none(text: str) -> None:
    """RFC 9110 section 5.6.7: by the grammar only."""
    assert http_date(text, NOW) is None


def test_two_digits_of_a_year_are_never_far_ahead() -> None:
    """RFC 9110 section 5.6.7: more than 50 years ahead is a hundred years before."""
    assert http_date("Friday, 14-Nov-73 22:13:20 GMT", NOW) == NOW + 18263 * 86400
    assert http_date("Wednesday, 14-Nov-74 22:13:20 GMT", NOW) == NOW - 17897 * 86400


def test_entity_tags_compare_weakly() -> None:
    """RFC 9110 section 8.8.3.2, its table; and the examples of section 13.1.2."""
    assert weakly_equal('W/"1"', 'W/"1"')
    assert not weakly_equal('W/"1"', 'W/"2"')
    assert weakly_equal('W/"1"', '"1"')
    assert weakly_equal('"1"', '"1"')
    assert entity_tags(['W/"xyzzy", W/"r2d2xxxx", "c3,p"']) == [
        *('W/"xyzzy"', 'W/"r2d2xxxx"', '"c3,p"')
    ]
    assert is_entity_tag('""')
    assert not is_entity_tag('w/"a"')


@pytest.mark.parametrize(
    ("request_", "response", "reasons"),
    [
        (GET, ok(), ()),
        (GET, ok(""), ()),
        (GET, ok("", status=302), ("may_have_a_lifetime",)),
        (GET, ok("public", status=302), ()),
        (GET, ok("", ("Expires", "0"), status=302), ()),
        (asking("POST"), ok(), ("method_is_understood",)),
        (GET, ok(status=206), ("status_is_understood",)),
        (GET, ok("max-age=1, must-understand, no-store"), ()),
        (
            GET,
            ok("max-age=1, must-understand, no-store", status=299),
            ("status_is_understood", "response_has_no_no_store"),
        ),
        (GET, ok("max-age=1", status=299), ()),
        (GET, ok("no-store, max-age=1"), ("response_has_no_no_store",)),
        (asking(cache_control="no-store"), ok(), ("request_has_no_no_store",)),
        (GET, ok("private, max-age=1"), ("is_not_private",)),
        (GET, ok('private="x-a", max-age=1'), ()),
        (GET, ok('private="", max-age=1'), ("is_not_private",)),
        (GET, ok('private="x-a", private'), ("is_not_private",)),
        (asking(authorization="t"), ok(), ("authorization_is_allowed_for",)),
        (asking(authorization="t"), ok("must-revalidate"), ()),
        (asking(authorization="t"), ok("s-maxage=1"), ()),
        (GET, ok("max-age=1", ("Set-Cookie", "a")), ("sets_no_cookie",)),
        (GET, ok('private="Set-Cookie"', ("Set-Cookie", "a")), ()),
    ],
)
def test_storing(request_: Request, response: Response, reasons: tuple[str, ...]) -> None:
    """RFC 9111 section 3, rule by rule."""
    assert why_not_stored(request_, response) == reasons


@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        (ok("max-age=10"), 10),
        (ok('max-age="10"'), 10),
        (ok("max-age=10, max-age=5"), 5),
        (ok("max-age=5, s-maxage=10"), 10),
        (ok("max-age=10, s-maxage=5"), 5),
        (ok("max-age=10", ("Age", "4")), 6),
        (ok("max-age=30", ("Date", "Tue, 14 Nov 2023 22:13:00 GMT")), 10),
        (ok("max-age=30", ("Date", "Tue, 14 Nov 2023 22:13:30 GMT")), 30),
        (ok("", ("Expires", "Tue, 14 Nov 2023 22:13:30 GMT")), 10),
        (ok("", ("Expires", "Tue, 14 Nov 2023 22:13:30 GMT"), ("Date", DATE)), 10),
        (ok("max-age=5", ("Expires", "Tue, 14 Nov 2023 22:13:30 GMT")), 5),
        (ok("", ("Last-Modified", "Tue, 14 Nov 2023 22:11:40 GMT")), 10),
        (ok("", ("Last-Modified", "Tue, 14 Nov 2003 22:11:40 GMT")), 86400),
        (ok("public", ("Last-Modified", "Tue, 14 Nov 2023 22:11:40 GMT"), status=302), 10),
    ],
)
def test_fresh_for(response: Response, seconds: float) -> None:
    """RFC 9111 sections 4.2.1 to 4.2.3: to the last moment, and no longer."""
    assert is_sent(response, seconds - 0.1)
    assert not is_sent(response, seconds)


@pytest.mark.parametrize(
    "response",
    [
        *(ok("max-age=0"), ok("max-age=x"), ok("max-age"), ok("max-age=10, max-age=x"), ok("")),
        ok("", ("Expires", "0")),
        ok("", ("Expires", "0"), ("Last-Modified", "Tue, 14 Nov 2003 22:11:40 GMT")),
        ok("max-age=x", ("Last-Modified", "Tue, 14 Nov 2003 22:11:40 GMT")),
        ok("max-age=10, no-cache"),
        ok("max-age=10", ("Age", "10")),
    ],
)
def test_never_fresh(response: Response) -> None:
    """RFC 9111 sections 4.2.1, 4.2.2 and 5.3."""
    assert not is_sent(response, 0)


def test_a_delay_makes_older() -> None:
    """RFC 9111 section 4.2.3: relative to when the request was sent, on top of ``Age``."""
    model = SharedCache([Exchange(GET, ok("max-age=10", ("Age", "2")), at(0), at(3))])
    (reuse,) = model.reusable(GET, at(4))

    assert reuse.youngest == reuse.oldest == 6


def test_a_clock_that_goes_back_makes_age_uncertain() -> None:
    """By what it shows, and by what has passed."""
    model = cache((GET, ok("max-age=10"), 0))
    (reuse,) = model.reusable(GET, Moment(NOW - 5, 12))

    assert (reuse.youngest, reuse.oldest) == (0, 12)
    assert model.promised(GET, Moment(NOW - 5, 12)) is None
    assert model.promised(GET, Moment(NOW - 5, 3)) is not None


@pytest.mark.parametrize(
    ("control", "asked", "seconds"),
    [
        ("max-age=600, stale-while-revalidate=30", "", 630),
        ("s-maxage=600, stale-while-revalidate=30", "", 630),
        ("max-age=10", "max-stale=5", 15),
        ("max-age=10", "max-stale=5, max-age=12", 12.9),
    ],
)
def test_stale_is_sent_until(control: str, asked: str, seconds: float) -> None:
    """RFC 5861 section 3.1, its example; RFC 9111 section 5.2.1.2."""
    presented = asking(cache_control=asked) if asked else GET

    assert is_sent(ok(control), seconds, presented)
    assert not is_sent(ok(control), seconds + 0.2, presented)


@pytest.mark.parametrize(
    "control",
    [
        *("max-age=10, must-revalidate", "max-age=10, proxy-revalidate", "s-maxage=10"),
        *("max-age=10, no-cache", "no-cache, stale-while-revalidate=100"),
        *("must-revalidate, stale-while-revalidate=100, stale-if-error=100",),
    ],
)
def test_stale_is_never_sent(control: str) -> None:
    """RFC 9111 sections 4.2.4 and 5.2.2: whatever the client accepts, and whatever fails."""
    assert not is_sent(ok(control), 20, asking(cache_control="max-stale"))
    assert cache((GET, ok(control), 0)).instead_of_error(GET, at(20)) == []


def test_stale_instead_of_an_error() -> None:
    """RFC 5861 section 4.1, its example."""
    model = cache((GET, ok("max-age=600, stale-if-error=1200"), 0))

    assert not model.reusable(GET, at(900))
    assert len(model.instead_of_error(GET, at(900))) == 1
    assert len(model.instead_of_error(GET, at(1800))) == 1
    assert len(model.instead_of_error(GET, at(1801))) == 0


def test_no_error_instead_of_an_error() -> None:
    """Ours: an error that was stored is no answer to another."""
    model = cache((GET, ok("max-age=1, stale-if-error=100", status=503), 0))

    assert model.instead_of_error(GET, at(5)) == []


def test_only_get_and_head_are_answered() -> None:
    """RFC 9111 section 4: HEAD from GET, and unsafe requests never."""
    assert is_sent(ok(), presented=asking("HEAD"))
    assert not is_sent(ok(), first=asking("HEAD"))
    assert is_sent(ok(), first=asking("HEAD"), presented=asking("HEAD"))
    assert not is_sent(ok(), presented=asking("POST"))
    assert not is_sent(ok(), presented=Request("GET", "http://api.example/b"))


@pytest.mark.parametrize(
    ("nominated", "first", "second", "is_match"),
    [
        ("Accept-Language", {"accept_language": "de,en"}, {"accept_language": "de, EN"}, True),
        ("X-V", {"x_v": "1"}, {"x_v": "1 "}, True),
        ("x-v", {"x_v": "1"}, {"x_v": "2"}, False),
        ("x-v", {"x_v": "a"}, {"x_v": "A"}, False),
        ("x-v", {}, {"x_v": ""}, False),
        ("x-v", {}, {}, True),
        ("x-w", {"x_v": "1"}, {"x_v": "2"}, True),
        ("*", {}, {}, False),
        (", *", {}, {}, False),
        ("x-v, *", {"x_v": "1"}, {"x_v": "1"}, False),
    ],
)
def test_vary(
    nominated: str, first: dict[str, str], second: dict[str, str], is_match: bool
) -> None:
    """RFC 9111 section 4.1."""
    response = ok("max-age=10", ("Vary", nominated))

    assert is_sent(response, first=asking(**first), presented=asking(**second)) is is_match


def test_the_latest_takes_the_place_of_others() -> None:
    """RFC 9111 section 4; and a later one that is not stored does not."""
    first, second = ok("max-age=100"), Response(200, (("Cache-Control", "max-age=50"),), b"2")
    no_cache = asking(cache_control="no-cache")

    replaced = cache((GET, first, 0), (no_cache, second, 1))
    kept = cache((GET, first, 0), (no_cache, ok("no-store"), 1))

    assert [reuse.body for reuse in replaced.reusable(GET, at(2))] == [b"2"]
    assert [reuse.body for reuse in kept.reusable(GET, at(2))] == [b"body"]


def test_one_that_omits_vary_is_not_preferred() -> None:
    """RFC 9111 section 4.1: both could be chosen."""
    varied, default = ok("max-age=100", ("Vary", "x-v")), ok("max-age=100")
    model = cache((asking(x_v="1"), varied, 0), (GET, default, 1))

    assert len(model.reusable(asking(x_v="1"), at(2))) == 2
    assert len(model.reusable(GET, at(2))) == 1


def test_what_was_promised() -> None:
    """Ours: it is kept, until a ``Vary`` with new names hides it."""
    model = cache((GET, ok("max-age=100"), 0))
    assert model.promised(GET, at(1)) is not None
    assert model.promised(asking(cache_control="no-cache"), at(1)) is None
    assert model.promised(asking(cache_control="min-fresh=100"), at(1)) is None

    varied = ok("max-age=100", ("Vary", "x-v"))
    model = cache((GET, ok("max-age=100"), 0), (asking(x_v="1"), varied, 1))
    assert model.promised(GET, at(1)) is None
    assert model.promised(asking(x_v="1"), at(1)) is not None
    assert model.promised(asking(x_v="2"), at(1)) is None


def test_what_nobody_stores_adds_no_names() -> None:
    """So what is stored after it may be hidden by who names the same."""
    any_field, varied = ok("max-age=9", ("Vary", "x-v, *")), ok("max-age=100", ("Vary", "x-v"))
    model = cache((GET, any_field, 0), (GET, ok("max-age=100"), 1), (asking(x_v="1"), varied, 2))
    assert model.promised(GET, at(3)) is None
    assert model.promised(asking(x_v="1"), at(3)) is not None


def test_what_was_displaced_is_not_held_again() -> None:
    """Also where it is not sure what became of that which has taken its place."""
    first, second = (
        ok("max-age=10", ("ETag", '"b"')),
        ok("max-age=10", ("ETag", '"a"'), ("Date", DATE)),
    )
    answers = [(GET, not_modified(("ETag", tag)), 20.0) for tag in ('"a"', '"b"')]
    model = cache((GET, first, 0), (asking(cache_control="no-cache"), second, 10), *answers)
    assert not any(one.sure for one in model.kept())


@pytest.mark.parametrize("later", [Response(503, ok("max-age=10").fields), ok("max-age=1, =")])
def test_nothing_is_held_again_that_may_have_been_displaced(later: Response) -> None:
    """What came later may be what is held, and what a HEAD or a 304 says is then about another."""
    good = ok("max-age=10", ("ETag", '"a"'))
    same = Response(304, good.fields)
    again = asking(cache_control="no-cache")
    for last in ((Request("HEAD", GET.url), good, 9.5), (again, same, 9.5)):
        for between in ([(again, later, 0)], []):
            model = cache((GET, good, 0), *between, last)
            assert any(one.sure for one in model.kept()) == (not between)


@pytest.mark.parametrize("asked", ["no-cache", "max-age=1", "min-fresh=9", "max-age=0, max-stale"])
def test_clients_want_newer(asked: str) -> None:
    """RFC 9111 section 5.2.1."""
    assert is_sent(ok("max-age=10"), 2)
    assert not is_sent(ok("max-age=10"), 2, asking(cache_control=asked))


def test_pragma_counts_alone() -> None:
    """RFC 9111 section 5.4."""
    assert not is_sent(ok(), 1, asking(pragma="no-cache"))
    assert is_sent(ok(), 1, asking(pragma="no-cache", cache_control="max-age=5"))
    assert is_sent(ok(), 1, asking(pragma="x"))


def test_fields_that_are_sent_again() -> None:
    """RFC 9111 section 3.1."""
    response = ok(
        'private="X-A", no-cache="x-b", max-age=10',
        *(("X-A", "1"), ("X-B", "2"), ("x-c", "3"), ("Connection", "X-D"), ("X-D", "4")),
        *(("Proxy-Authenticate", "5"), ("Age", "6"), ("Date", DATE)),
    )
    (reuse,) = cache((GET, response, 0)).reusable(GET, at(1))

    assert reuse.required == (response.fields[0], ("x-c", "3"), ("Date", DATE))
    assert reuse.optional == (("Connection", "X-D"), ("X-D", "4"))


def test_a_date_is_appended() -> None:
    """RFC 9110 section 6.6.1; or by the server, later."""
    (reuse,) = cache((GET, ok(), 0)).reusable(GET, at(1))

    assert (reuse.required, reuse.optional) == (
        (("Cache-Control", "max-age=10"),),
        (("Date", DATE),),
    )


TAGGED = ok("max-age=10", ("ETag", '"a"'), ("X-A", "1"), ("Content-Length", "4"))


def not_modified(*fields: tuple[str, str]) -> Response:
    return Response(304, fields)


def test_validators_are_those_of_the_url() -> None:
    """RFC 9111 section 4.3.1."""
    model = cache((GET, TAGGED, 0))

    assert model.conditions(GET) == ({'"a"'}, set())
    assert model.conditions(Request("GET", "http://api.example/b")) == (set(), set())
    assert model.promised_condition(GET, at(20)) == '"a"'
    assert model.promised_condition(GET, at(10 + 3600)) is None


def test_304_updates_fields_and_age() -> None:
    """RFC 9111 sections 3.2, 4.2.3 and 4.3.4."""
    answer = not_modified(
        ("ETag", '"a"'), ("X-A", "2"), ("Content-Length", "0"), ("Cache-Control", "max-age=100")
    )
    model = cache((GET, TAGGED, 0), (GET, answer, 20))
    (reuse,) = model.reusable(GET, at(30))

    assert set(reuse.required) == {
        *answer.fields[:2],
        *(("Cache-Control", "max-age=100"), ("Content-Length", "4")),
    }
    assert reuse.optional == (("Date", "Tue, 14 Nov 2023 22:13:40 GMT"),)
    assert (reuse.status, reuse.body, reuse.oldest) == (200, b"body", 10)


@pytest.mark.parametrize(
    ("stored", "answer", "is_updated"),
    [
        ('"a"', '"a"', True),
        ('"a"', '"b"', False),
        ('W/"a"', '"a"', False),
        ('"a"', 'W/"a"', True),
        ('W/"a"', 'W/"b"', False),
        ('"a"', "", True),
        ("", '"a"', False),
        ("", "", True),
    ],
)
def test_304_identifies_by_validators(stored: str, answer: str, is_updated: bool) -> None:
    """RFC 9111 section 4.3.4, the three rules."""
    tagged = ok("max-age=10", *((("ETag", stored),) if stored else ()))
    answered = not_modified(*((("ETag", answer),) if answer else ()))
    model = cache((GET, tagged, 0), (GET, answered, 20))

    assert bool(model.reusable(GET, at(21))) is is_updated


def test_304_that_must_not_be_stored_updates_nothing() -> None:
    """RFC 9111 section 3: neither ``no-store`` nor what is for who is authorized."""
    private = not_modified(("ETag", '"a"'), ("Cache-Control", "private, max-age=100"))
    model = cache((GET, TAGGED, 0), (GET, private, 20))
    assert not model.reusable(GET, at(21))

    mine = not_modified(("ETag", '"a"'), ("X-A", "mine"))
    model = cache((GET, TAGGED, 0), (asking(authorization="t", cache_control="no-cache"), mine, 2))
    (reuse,) = model.reusable(GET, at(3))
    assert ("X-A", "1") in reuse.required


def test_what_is_sent_after_304() -> None:
    """RFC 9111 section 4.3.4: the updated one, to whoever asked; with its cookie, if need be."""
    model = cache((GET, TAGGED, 0))
    answer = not_modified(("ETag", '"a"'), ("Set-Cookie", "a"), ("X-A", "2"))
    (reuse,) = model.validated(Exchange(GET, answer, at(20), at(21)))

    assert ("X-A", "2") in reuse.required
    assert ("Set-Cookie", "a") in reuse.optional
    assert reuse.oldest == 1


@pytest.mark.parametrize(
    ("fields", "is_updated"),
    [
        ((("ETag", '"a"'),), True),
        ((("ETag", '"a"'), ("Content-Length", "4")), True),
        ((), True),
        ((("ETag", '"b"'),), False),
        ((("ETag", '"a"'), ("Content-Length", "5")), False),
        ((("Last-Modified", DATE),), False),
    ],
)
def test_head_updates_or_makes_stale(fields: tuple[tuple[str, str], ...], is_updated: bool) -> None:
    """RFC 9111 section 4.3.5."""
    head = ok("max-age=100", *fields)
    model = cache((GET, TAGGED, 0), (asking("HEAD"), head, 5))

    assert bool(model.reusable(GET, at(50))) is is_updated
    assert bool(model.reusable(GET, at(6))) is is_updated


def test_head_makes_stale_what_has_another_status() -> None:
    """RFC 9111 section 4.3.5: then it is not what GET would get."""
    model = cache((GET, ok("max-age=100", status=404), 0), (asking("HEAD"), ok("max-age=100"), 5))
    assert model.reusable(GET, at(6)) == []


@pytest.mark.parametrize(
    ("method", "status", "is_valid"),
    [
        *(("POST", 200, False), ("FOO", 302, False), ("DELETE", 204, False)),
        *(("POST", 404, True), ("OPTIONS", 200, True)),
    ],
)
def test_unsafe_requests_invalidate(method: str, status: int, is_valid: bool) -> None:
    """RFC 9111 section 4.4: unless they fail."""
    model = cache((GET, TAGGED, 0), (asking(method), ok(status=status), 1))

    assert bool(model.reusable(GET, at(2))) is is_valid


@pytest.mark.parametrize(
    ("fields", "is_it"),
    [
        ({"if_none_match": '"b", W/"a"'}, True),
        ({"if_none_match": "*"}, True),
        ({"if_none_match": '"b"', "if_modified_since": DATE}, False),
        ({"if_modified_since": DATE}, True),
        ({"if_modified_since": "Tue, 14 Nov 2023 22:13:19 GMT"}, False),
        ({"if_modified_since": "yesterday"}, False),
        ({}, False),
    ],
)
def test_a_clients_own_conditions(fields: dict[str, str], is_it: bool) -> None:
    """RFC 9110 section 13.2.2, RFC 9111 section 4.3.2: without ``Last-Modified`` by ``Date``."""
    stored = (("ETag", '"a"'), ("Date", DATE))

    assert is_not_modified(asking(**fields), 200, stored, at(0)) is is_it
