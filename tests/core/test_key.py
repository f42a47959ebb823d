"""Keys: readable, injective, and not to be forged."""

import hashlib
import re
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request as WerkzeugRequest

from flask_larder.entry import Request
from flask_larder.key import (
    FORMAT,
    LONGEST_KEY,
    NO_QUERY,
    QueryRule,
    encode_path,
    named_key,
    stored_key,
    url_key,
    variant_key,
    with_selection,
)

EVERYTHING = QueryRule(names=None)

# Everything that stands for something in a URL or in a key, and a little beside it.
DELIMITERS = " %#?|&=+:/;@[]'\"\\*~.,$!()<>^`{}\0\r\n"
BYTES = st.lists(
    st.sampled_from([c.encode() for c in DELIMITERS + "ab2FfGET"] + [b"\xff", "é".encode()]),
    max_size=8,
).map(b"".join)
NAMES = st.text(alphabet=st.sampled_from(DELIMITERS + "ab=hash2#") | st.characters(), max_size=20)
HOSTS = st.sampled_from(
    [
        "a",
        "a:80",
        "a:8080",
        "a.b",
        "b",
        "[::1]",
        "[::1]:80",
        "a/b",
        "a%2Fb",
        "a|b",
        "a?b",
        "a#b",
        "a b",
        "é",
    ]
)
PATHS = BYTES.map(lambda path: encode_path(b"/" + path))
MOUNTS = st.just("") | PATHS
QUERY_PARTS = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "%61",
            "+",
            "%20",
            "%2B",
            "%26",
            "%3D",
            "=",
            "%",
            "%2",
            "%zz",
            "é",
            "%C3%A9",
            "%C3",
            "%00",
            "[]",
            ";",
            "1",
        ]
    ),
    max_size=4,
).map("".join)
QUERIES = st.lists(QUERY_PARTS, max_size=4).map("&".join).map(str.encode)
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "HEAD", "POST", "QUERY"]),
    scheme=st.sampled_from(["http", "https"]),
    host=HOSTS,
    script_name=MOUNTS,
    path=PATHS,
    query=QUERIES,
    fields=st.just({}),
)


def request(
    path: str = "/",
    query: str | bytes = b"",
    *,
    host: str = "api.example",
    method: str = "GET",
    scheme: str = "http",
    script_name: str = "",
) -> Request:
    raw = query.encode() if isinstance(query, str) else query
    return Request(method, scheme, host, script_name, path, raw, {})


def as_flask_reads(query: bytes) -> MultiDict[str, str]:
    """``request.args``: the same values in the same order for each name, or it is not equal."""
    environ = EnvironBuilder().get_environ()
    environ["QUERY_STRING"] = query.decode("latin-1")
    return WerkzeugRequest(environ).args


def selecting_parts(asked: Request, rule: QueryRule) -> tuple[object, ...]:
    """What tells requests apart, put together without any key."""
    method = "GET" if asked.method == "HEAD" else asked.method
    where = (asked.scheme, asked.host, asked.script_name, asked.path)
    return (method, *where, rule.canonical(asked.query))


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        (request("/square/4"), "view/http://api.example/square/4"),
        (request("/square/4", method="HEAD"), "view/http://api.example/square/4"),
        (request("/square/4", method="POST"), "view/POST http://api.example/square/4"),
        (
            request("/x", "name=m&country=Germany"),
            "view/http://api.example/x?country=Germany&name=m",
        ),
        (request("/x", scheme="https", host="a:8443"), "view/https://a:8443/x"),
        (request("/x", script_name="/api"), "view/http://api.example|/api|/x"),
        (request(encode_path("/é ?#|".encode())), "view/http://api.example/%C3%A9%20%3F%23%7C"),
    ],
)
def test_a_url_is_readable_in_its_key(asked: Request, key: str) -> None:
    """Who looks at Redis sees the method where it is not GET, the URL, and the sorted query."""
    assert url_key(asked, EVERYTHING) == key
    assert stored_key(key) == f"larder1:{key}"


def test_no_url_chooses_its_node() -> None:
    """A Cluster goes by what stands in braces, and no request can put them into a key."""
    asked = request(host="{a}", path=encode_path(b"/{a}"), query=b"{a}={a}")
    key = url_key(asked, EVERYTHING)
    assert "%7Ba%7D" in key
    assert not {"{", "}"} & set(key)


def test_a_template_stands_around_the_url() -> None:
    """The first ``%s`` of a ``key_prefix`` stands for the URL, whatever else it has."""
    key = url_key(request("/x"), NO_QUERY, "v2:%s/end%s")

    assert key == "v2%3Ahttp://api.example/x#/end%25s"


def test_a_named_key_is_readable() -> None:
    """A name stays as it is where it can."""
    assert named_key("user/7?a=[1]&b") == "key=user/7?a=[1]&b"
    assert named_key("a b#c%é") == "key=a%20b%23c%25%C3%A9"


@settings(max_examples=500)
@given(REQUESTS, REQUESTS, st.sampled_from(["view/%s", "%s", "%s/end", "a%sb"]))
def test_two_requests_share_a_key_if_and_only_if_they_are_the_same(
    one: Request, other: Request, template: str
) -> None:
    """Scheme, host, mount point, path and query select, and no part is taken for another."""
    same = selecting_parts(one, EVERYTHING) == selecting_parts(other, EVERYTHING)

    assert (url_key(one, EVERYTHING, template) == url_key(other, EVERYTHING, template)) == same


@settings(max_examples=300)
@given(st.text(alphabet="ab/|?#:%= ", max_size=12), st.data())
def test_no_boundary_between_parts_can_be_moved(text: str, data: st.DataObject) -> None:
    """One text, cut at other places into host, mount point, path and query, has other keys."""
    ends = st.tuples(*[st.integers(0, len(text))] * 3).map(sorted)
    one, other = data.draw(st.lists(ends, min_size=2, max_size=2, unique_by=tuple))

    assert url_key(cut(text, *one), EVERYTHING) != url_key(cut(text, *other), EVERYTHING)


def cut(text: str, host_end: int, mount_end: int, path_end: int) -> Request:
    """As a server would hand it over: path and mount point begin with a slash."""
    mount, path = text[host_end:mount_end], text[mount_end:path_end]
    return request(
        encode_path(f"/{path}".encode()),
        f"={text[path_end:]}",
        host=text[:host_end],
        script_name=encode_path(f"/{mount}".encode()) if mount else "",
    )


@given(REQUESTS, st.data())
def test_each_part_of_a_request_selects(one: Request, data: st.DataObject) -> None:
    """A request that differs in a single part has another key."""
    other = data.draw(REQUESTS)
    for part in ("scheme", "host", "script_name", "path"):
        parts = {name: getattr(one, name) for name in Request.__slots__}
        changed = Request(**{**parts, part: getattr(other, part)})
        same = getattr(one, part) == getattr(other, part)
        assert (url_key(changed, EVERYTHING) == url_key(one, EVERYTHING)) == same


@given(QUERIES)
@example(b"b=1&a=2&b=0")
@example(b"a=b=c&=&x=")
def test_how_a_query_is_encoded_says_nothing(query: bytes) -> None:
    """What is plain, and so taken as it is, has the key that it has when all of it is encoded."""
    pairs = [part.partition(b"=") for part in query.replace(b"+", b" ").split(b"&") if part]
    encoded = [f"{_escaped(name)}={_escaped(value)}" for name, _, value in pairs]
    assert EVERYTHING.canonical(query) == EVERYTHING.canonical("&".join(encoded).encode())


def _escaped(text: bytes) -> str:
    return "".join(f"%{byte:02x}" for byte in unquote_to_bytes(text))


@given(REQUESTS, st.text(max_size=4), st.text(max_size=4))
def test_templates_do_not_share_keys(asked: Request, one: str, other: str) -> None:
    """Views with different prefixes have different entries for one URL."""
    assume("%s" not in one + other)
    for left, right in ((f"{one}%s", f"{other}%s"), (f"%s{one}", f"%s{other}")):
        shared = url_key(asked, EVERYTHING, left) == url_key(asked, EVERYTHING, right)
        assert shared == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("view/%s", "a=%23/end"), ("view/%s/end", "a=")),
        (("view/%s", "a=#end"), ("view/%send", "a=")),
        (("view/%s#query", "a="), ("view/%s", "a=#query")),
        (("%s", ""), ("view/%s", "")),
        (("view/POST %s", ""), ("view/%s", "")),
    ],
)
def test_a_template_is_not_taken_for_a_query(one: tuple[str, str], other: tuple[str, str]) -> None:
    """What stands around the URL in one view cannot be written into the URL of another."""
    keys = {url_key(request("/", query), EVERYTHING, template) for template, query in (one, other)}

    assert len(keys) == 2
    post = url_key(request("/", method="POST"), EVERYTHING)
    assert post not in keys


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request("/a", script_name="/b"), request("/b/a")),
        (request("/b/a"), request("/a", host="api.example/b")),
        (request("/a%3Fb=1"), request("/a", "b=1")),
        (request("/a%253Fb"), request("/a%3Fb")),
        (request("/", "a=1%26b=2"), request("/", "a=1&b=2")),
        (request("/", "a%3D1=2"), request("/", "a=1=2")),
        (request("/a%7C/b"), request("/b", script_name="/a")),
        (request("/", "a=%23variant%3D0"), request("/", "a=#variant=0", method="POST")),
        (request("/", host="a:80"), request("/", host="a")),
        (request("//a"), request("/a")),
        (request("/A"), request("/a")),
    ],
)
def test_delimiters_in_a_part_are_not_delimiters(one: Request, other: Request) -> None:
    """What one writes into a path, a value or a Host cannot reach the entry of another URL."""
    assert url_key(one, EVERYTHING) != url_key(other, EVERYTHING)


@given(NAMES, NAMES)
def test_two_names_share_a_key_if_and_only_if_they_are_the_same(one: str, other: str) -> None:
    """Also names with delimiters, control characters and lone surrogates."""
    assert (named_key(one) == named_key(other)) == (one == other)


@given(REQUESTS, NAMES, st.sampled_from(["view/%s", "%s", "key:%s", "key%s", "k%sy"]))
def test_a_name_is_never_a_url(asked: Request, name: str, template: str) -> None:
    """The key of a named value is not that of a response, whatever the prefix."""
    key = url_key(asked, EVERYTHING, template)

    assert not key.startswith("key:")
    assert named_key(key) != key
    assert named_key(name) != key


@given(REQUESTS, NAMES)
def test_keys_are_printable_ascii(asked: Request, name: str) -> None:
    """So that their length is in bytes, and no tool has trouble with them."""
    for key in (url_key(asked, EVERYTHING), named_key(name)):
        assert key.isascii()
        assert key.isprintable()


PARTS = st.lists(st.none() | st.text(alphabet="ab:1none-", max_size=5) | NAMES, max_size=4)


@given(PARTS, PARTS)
@example(["a", "bc"], ["ab", "c"])
@example(["1:a"], ["1:a", ""])
@example([None], ["-"])
@example([None], [""])
@example([None], ["none"])
@example([], [None])
def test_selections_keep_their_boundaries(one: list[str | None], other: list[str | None]) -> None:
    """("a", "bc") is not ("ab", "c"), absent is not empty, and order counts."""
    shared = with_selection("k", "vary", one) == with_selection("k", "vary", other)

    assert shared == (one == other)


def test_a_selection_does_not_show_its_parts() -> None:
    """They may be secret, and whoever sees the keys must not see them."""
    key = with_selection("view/x", "vary", ["authorization", "Bearer s3cret"])

    assert re.fullmatch(r"view/x#vary=[0-9a-f]{32}", key)


def test_selections_of_different_kinds_differ() -> None:
    """The same parts under another label, or in another order of labels, select otherwise."""
    one = with_selection(with_selection("k", "vary", ["a"]), "source", ["a"])
    other = with_selection(with_selection("k", "source", ["a"]), "vary", ["a"])

    assert len({one, other, with_selection("k", "vary", ["a"])}) == 3


def test_a_variant_is_selected_by_names_and_values() -> None:
    """Variants differ by value, by absence, and by the very names they are selected by."""
    fields = {"accept": "a", "accept-language": "a"}
    keys = {
        variant_key("k", ("accept",), fields),
        variant_key("k", ("accept",), {"accept": "b"}),
        variant_key("k", ("accept",), {"accept": ""}),
        variant_key("k", ("accept",), {}),
        variant_key("k", ("accept-language",), fields),
        variant_key("k", ("accept", "accept-language"), fields),
        "k",
    }

    assert len(keys) == 7
    assert variant_key("k", ("accept",), fields) == variant_key("k", ("accept",), {"accept": "a"})


@given(st.text(alphabet="abc/?=", min_size=1, max_size=2 * LONGEST_KEY))
def test_only_a_long_key_is_shortened(name: str) -> None:
    """Up to 250 bytes a key stays as it is; beyond it has a beginning and a digest."""
    key = named_key(name)
    stored = stored_key(key)

    assert stored.startswith(FORMAT)
    assert len(stored) <= LONGEST_KEY + len(FORMAT)
    assert (stored == FORMAT + key) == (len(key) <= LONGEST_KEY)
    assert stored.startswith(FORMAT + key[:120])


def test_the_limit_is_exact() -> None:
    """250 bytes stay, 251 do not."""
    assert stored_key("k" * LONGEST_KEY) == FORMAT + "k" * LONGEST_KEY
    assert stored_key("k" * (LONGEST_KEY + 1)) != FORMAT + "k" * (LONGEST_KEY + 1)


def test_long_keys_with_one_beginning_differ() -> None:
    """What differs only behind the kept beginning is told apart by the digest of all of it."""
    beginning = "k" * 1000

    assert stored_key(f"{beginning}1") != stored_key(f"{beginning}2")


def test_the_digest_is_the_one_that_was_chosen() -> None:
    """``CACHE_HASH_METHOD`` decides; sha256 without it."""
    key = "k" * 1000

    assert stored_key(key).endswith(f"#hash={hashlib.sha256(key.encode()).hexdigest()}")
    assert stored_key(key, hashlib.md5).endswith(f"#hash={hashlib.md5(key.encode()).hexdigest()}")


@given(REQUESTS, st.sampled_from(["view/%s", "%s", "%s{}"]), PARTS)
def test_nothing_can_be_crafted_to_equal_a_shortened_key(
    asked: Request, template: str, parts: list[str | None]
) -> None:
    """A URL, a template or a name that spells a shortened key out gets another key."""
    victim = url_key(request("/secret", "a=" + "v" * 300), EVERYTHING)
    shortened = stored_key(victim).removeprefix(FORMAT)
    tail = shortened[shortened.index("#") :]
    spelled_query = shortened.partition("?")[2]
    beginning = spelled_query.partition("#")[0]
    crafted = [
        url_key(asked, EVERYTHING, template.replace("{}", tail)),
        url_key(request("/secret", spelled_query), EVERYTHING),
        url_key(request("/secret", beginning), EVERYTHING, "view/%s" + tail),
        url_key(request("/secret", beginning), EVERYTHING, "view/%s" + tail[1:]),
        url_key(request(encode_path(b"/secret?" + spelled_query.encode())), NO_QUERY),
        url_key(request(host="api.example/secret?" + spelled_query), NO_QUERY),
        named_key(shortened),
        with_selection(shortened.partition("#")[0], "vary", parts),
    ]

    assert stored_key(victim) not in {FORMAT + key for key in crafted}
    assert stored_key(victim) not in {stored_key(key) for key in crafted}


def test_a_shortened_variant_is_not_its_url() -> None:
    """A long URL and its variants have keys of their own, though their beginnings are one."""
    key = url_key(request("/" + "p" * 300), NO_QUERY)
    keys = {
        stored_key(key),
        *(stored_key(variant_key(key, ("accept",), {"accept": a})) for a in "ab"),
    }

    assert len(keys) == 3


@settings(max_examples=400)
@given(QUERIES, QUERIES)
@example(b"a=%C3%A9", "a=é".encode())
@example(b"a=%FF", b"a=%ff")
@example(b"a=1&a=2", b"a=2&a=1")
@example(b"a", b"a=")
@example(b"", b"=")
@example(b"a+b=1", b"a%20b=1")
@example(b"a;b", b"a%3Bb=")
def test_queries_share_a_form_if_and_only_if_flask_reads_the_same(one: bytes, other: bytes) -> None:
    """``request.args`` is what a view sees, and what it sees is what selects."""
    same = as_flask_reads(one) == as_flask_reads(other)
    shared = EVERYTHING.canonical(one) == EVERYTHING.canonical(other)

    assert not (shared and not same)  # never one entry for two
    if is_utf8(one) and is_utf8(other):  # a lone byte and "%25" in front of its digits read alike
        assert shared == same


def is_utf8(query: bytes) -> bool:
    try:
        parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


@given(QUERIES)
def test_the_canonical_form_is_canonical(query: bytes) -> None:
    """It reads as the query it was made of, and made again it stays the same."""
    canonical = EVERYTHING.canonical(query)

    assert EVERYTHING.canonical(canonical.encode()) == canonical
    assert as_flask_reads(canonical.encode()) == as_flask_reads(query)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=3)), max_size=6), st.randoms())
def test_only_the_order_of_one_names_values_counts(
    pairs: list[tuple[str, str]], random: object
) -> None:
    """Names may come in any order; values of one name keep theirs."""
    by_name: dict[str, list[str]] = {}
    for name, value in pairs:
        by_name.setdefault(name, []).append(value)
    shuffled = []
    remaining = {name: list(values) for name, values in by_name.items()}
    while remaining:
        name = random.choice(sorted(remaining))
        shuffled.append((name, remaining[name].pop(0)))
        if not remaining[name]:
            del remaining[name]

    one, other = urlencode(pairs).encode(), urlencode(shuffled).encode()
    assert EVERYTHING.canonical(one) == EVERYTHING.canonical(other)


def test_the_form_is_sorted_and_encoded_in_one_way() -> None:
    """Encodings of one character are one, and the order is that of the names."""
    assert EVERYTHING.canonical(b"b=%7e&a=x%2fy&a=+&&c") == "a=x/y&a=%20&b=~&c="


@given(QUERIES)
def test_no_query_selects_nothing(query: bytes) -> None:
    """Without ``query_string`` all queries of a path share an entry."""
    assert NO_QUERY.canonical(query) == ""


@pytest.mark.parametrize(
    ("rule", "form"),
    [
        (QueryRule(["country"]), "country=DE"),
        (QueryRule(["country", "page", "missing"]), "country=DE&page=1"),
        (QueryRule(None, ["utm_*"]), "Country=FR&country=DE&page=1&utm=3"),
        (QueryRule(["utm_source", "page"], ["utm_*"]), "page=1"),
        (QueryRule([]), ""),
        (QueryRule(None, ["*"]), ""),
    ],
)
def test_a_rule_selects_names(rule: QueryRule, form: str) -> None:
    """Only the chosen names, never the ignored ones, and names are case-sensitive."""
    query = b"utm_source=1&page=1&Country=FR&utm_medium=2&country=DE&utm=3"

    assert rule.canonical(query) == form


def test_a_name_is_selected_however_it_is_encoded() -> None:
    """A rule is about decoded names: encoding one does not get it past the rule."""
    assert QueryRule(["é"]).canonical(b"%C3%A9=1") == "%C3%A9=1"
    assert QueryRule(None, ["utm_*"]).canonical(b"%75tm_source=1&utm%5Fx=2") == ""


@pytest.mark.parametrize("names", [("page",), ["page"], {"page"}, iter(["page"])])
def test_names_come_in_any_iterable(names: object) -> None:
    """A rule that is used twice gives the same form twice, also one made from an iterator."""
    rule = QueryRule(names)

    assert [rule.canonical(b"page=1&x=2") for _ in range(2)] == ["page=1", "page=1"]


@given(st.binary(max_size=60))
def test_any_query_has_a_form(query: bytes) -> None:
    """No bytes raise, and those that were sent differently share no form with what differs."""
    canonical = EVERYTHING.canonical(query)

    assert canonical.isascii()
    assert EVERYTHING.canonical(canonical.encode()) == canonical


@given(BYTES | st.binary(max_size=30))
@example(b"/%3F")
@example(b"/?")
def test_a_path_is_encoded_once_and_for_all(path: bytes) -> None:
    """No delimiter of a key is left in it, and it decodes to what it was."""
    encoded = encode_path(path)

    assert not set(encoded) & set(' ?#|"<>\\^`{}')
    assert unquote_to_bytes(encoded) == path


def test_a_path_without_a_slash_is_no_part_of_the_host() -> None:
    """Some servers hand over what a rude client sent: a path that begins with something else."""
    odd = url_key(request(".com/x", host="victim"), NO_QUERY)
    assert odd != url_key(request("/x", host="victim.com"), NO_QUERY)


def test_a_forged_scheme_is_encoded() -> None:
    """Behind a proxy the scheme is a header's value, which may be anything."""
    everything = QueryRule(None)
    forged = request("/p", host="evil", scheme="http://victim/4?a=")
    assert url_key(forged, everything) != url_key(
        request("/4", "a=://evil/p", host="victim"), everything
    )
    named = url_key(request("/x", host="h", scheme="key"), NO_QUERY, "%s")
    assert named != named_key("//h/x")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("accept-language", ["de, en;q=0.5", "DE,en ; q=0.5", " de ,\ten;q=0.5 "]),
        ("accept-encoding", ["gzip, br", "GZIP,BR"]),
        ("accept", ["text/html, */*;q=0.1", "text/html,*/* ; q=0.1"]),
        ("x-parts", ["1, 2", "1,2", "1 ,2"]),  # of several lines a server has made one
    ],
)
def test_values_that_mean_the_same_have_one_variant(name: str, values: list[str]) -> None:
    """White space says nothing, and neither does the case of languages and codings."""
    assert len({variant_key("k", [name], {name: value}) for value in values}) == 1


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("accept-language", "de, en", "en, de"),
        ("accept", "text/html;level=A", "text/html;level=a"),
        ("x-parts", "1; 2", "1;2"),
        ("x-parts", "a", "A"),
        ("x-parts", "a b", "ab"),
        ("x-parts", '"a, b"', '"a,b"'),
        ("x-user", "Smith, John", "Smith,John"),
        ("x-api-key", "a, b", "a,b"),
        ("cookie", "user=a, b", "user=a,b"),
        ("authorization", "Bearer a, b", "Bearer a,b"),
        ("accept", "", None),
    ],
)
def test_values_that_may_mean_something_else_stay_apart(
    name: str, one: str | None, other: str | None
) -> None:
    """Order counts with many; a quoted text and a credential are what they are."""
    fields = ({name: value} if value is not None else {} for value in (one, other))
    first, second = (variant_key("k", [name], own) for own in fields)
    assert first != second


EXACT_QUERIES = st.lists(
    st.sampled_from(
        [b"a", b"=", b"&", b"|", b"%7C", b"|7C", b"[", b"%5B", b"\xe9", b"%E9", b"#", b"?"]
    )
).map(b"".join)


@given(EXACT_QUERIES, EXACT_QUERIES)
def test_an_exact_query_is_injective(one: bytes, other: bytes) -> None:
    """What is encoded here is told from what was encoded already: a server may refuse the one."""
    exact = QueryRule(None, exact=True)
    assert (exact.canonical(one) == exact.canonical(other)) == (one == other)
    assert exact.canonical(one).isascii()
    assert "#" not in exact.canonical(one)


def test_an_exact_query_may_leave_parameters_out() -> None:
    """In the order and the form in which the others are there."""
    exact = QueryRule(None, ("utm_*", "x"), exact=True)
    assert exact.canonical(b"b=%31&utm_a=1&%78=2&a=&&c") == "b=%31&a=&&c"
