"""What an unsafe method makes out of date (RFC 9111 section 4.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flask_larder.entry import Request
from flask_larder.invalidation import (
    LONGEST_KEPT,
    LONGEST_REFERENCE,
    invalidated,
    named_by,
    target_of,
)

POST = Request("POST", "http", "shop.example", "", "/items/", b"page=2", {})
MOUNTED = replace(POST, script_name="/api")


def urls(request: Request, status: int = 200, **fields: str) -> list[str]:
    """What is invalidated, without the origin."""
    named = [(name.replace("_", "-"), value) for name, value in fields.items()]
    found = invalidated(request, status, named)
    assert all(
        (each.method, each.host, each.has_body) == ("GET", POST.host, False) for each in found
    )
    return [f"{each.script_name}{each.path}?{each.query.decode()}" for each in found]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PURGE", "get", ""])
def test_unsafe_methods_invalidate_the_target(method: str) -> None:
    """Also those that nobody knows (RFC 9111 section 4.4)."""
    assert urls(replace(POST, method=method, has_body=True)) == ["/items/?page=2"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_invalidate_nothing(method: str) -> None:
    """RFC 9110 section 9.2.1. Nor what they name."""
    assert urls(replace(POST, method=method), location="/other") == []


@pytest.mark.parametrize(
    ("status", "invalidates"),
    [
        (100, False), (199, False), (200, True), (201, True), (204, True), (299, True),
        (302, True), (303, True), (304, True), (399, True), (400, False), (404, False),
        (412, False), (500, False), (599, False), (999, False),
    ],
)  # fmt: skip
def test_only_what_is_no_error_invalidates(status: int, invalidates: bool) -> None:
    """2xx and 3xx (RFC 9111 section 4.4)."""
    assert bool(urls(POST, status, Location="/other")) is invalidates


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("/items/7", "/items/7?"),
        ("7", "/items/7?"),
        ("../users?b=1&a=2", "/users?b=1&a=2"),
        ("?page=3", "/items/?page=3"),
        ("#top", "/items/?"),
        ("/items/7#top", "/items/7?"),
        (" /items/7\t", "/items/7?"),
        ("http://shop.example/items/7", "/items/7?"),
        ("HTTP://SHOP.example:80/items/7", "/items/7?"),
        ("//shop.example/items/7", "/items/7?"),
        ("http://shop.example", "/?"),
        ("/caf%C3%A9", "/caf%C3%A9?"),
        ("/café", "/caf%C3%A9?"),
        ("/%7Eann", "/~ann?"),
        ("/a b", "/a%20b?"),
    ],
)
def test_what_the_response_names_is_invalidated(reference: str, url: str) -> None:
    """Relative to the target, in any way of writing (RFC 9110 sections 10.2.2 and 8.7)."""
    assert urls(POST, 201, Location=reference) == ["/items/?page=2", url]
    assert urls(POST, 200, content_location=reference) == ["/items/?page=2", url]


@pytest.mark.parametrize(
    "reference",
    [
        "https://shop.example/x",
        "http://shop.example:8080/x",
        "http://evil.example/x",
        "//evil.example/x",
        "http://shop.example.evil.example/x",
        "http://shop.example@evil.example/x",
        "http://evil.example@shop.example/x",
        "http://evil.example\\@shop.example/x",
        "http://shop.example:80:80/x",
        "http://shop.example:port/x",
        "http://shop.example:99999/x",
        "http://[shop.example/x",
        "http://[::1]/x",
        "http:///x",
        "http:/x",
        "http:x",
        "///x",
        "http://shop..example/x",
        f"http://{'a' * 64}.example/x",
        "ftp://shop.example/x",
        "javascript:alert(1)",
        "data:,x",
        "/x\r\nLocation: /y",
        "/x\ny",
        "/x\0",
        "/x\x7f",
        "/\ud800",
        "/" + "x" * LONGEST_REFERENCE,
        "/" + "x" * 100_000,
    ],
)
def test_other_origins_and_what_is_malformed_are_not(reference: str) -> None:
    """Nobody can have what belongs to others forgotten (RFC 9111 section 4.4)."""
    assert urls(POST, 201, Location=reference, content_location=reference) == ["/items/?page=2"]


def test_https_has_another_default_port() -> None:
    """The origin is a scheme, a host and a port (RFC 9110 section 4.3.1)."""
    secure = replace(POST, scheme="https", host="shop.example:8443")
    assert named_by("https://shop.example:8443/x", secure) is not None
    for reference in (
        "https://shop.example/x",
        "https://shop.example:443/x",
        "http://shop.example:8443/x",
    ):
        assert named_by(reference, secure) is None
    usual = replace(POST, scheme="https")
    assert named_by("https://shop.example:443/x", usual) is not None
    assert named_by("https://shop.example:80/x", usual) is None


def test_both_fields_and_each_url_once() -> None:
    """The first line of each counts, since neither may come twice."""
    fields = {"Location": "/a", "CONTENT_LOCATION": "/b"}
    assert urls(POST, 201, **fields) == ["/items/?page=2", "/a?", "/b?"]
    assert urls(POST, 201, Location="/a", content_location="/a") == ["/items/?page=2", "/a?"]
    assert urls(POST, 303, Location="?page=2") == ["/items/?page=2"]
    found = invalidated(POST, 201, [("Location", "/a"), ("Location", "/b")])
    assert [each.path for each in found] == ["/items/", "/a"]


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("/api/items/7", "/api/items/7?"),
        ("7", "/api/items/7?"),
        ("/api", "/api?"),
        ("/items/7", None),
        ("/apis/items/7", None),
        ("../../items", None),
    ],
)
def test_a_mount_is_a_part_of_the_path(reference: str, url: str | None) -> None:
    """What is outside of it is not this app's."""
    assert urls(MOUNTED, 201, Location=reference) == ["/api/items/?page=2", *([url] if url else [])]


def test_a_host_that_is_none_has_its_target_only() -> None:
    """As it comes over a unix socket without ``Host``: nothing else can be known to be its own."""
    (found,) = invalidated(replace(POST, host=""), 201, [("Location", "/a")])
    assert target_of(found) == ("url", "http:///items/?page=2")


def test_a_purge_names_the_url() -> None:
    """In canonical order, with the origin and the mount."""
    (found,) = invalidated(replace(MOUNTED, query=b"b=2&a=1"), 200, [])
    assert target_of(found) == ("url", "http://shop.example/api/items/?a=1&b=2")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"query": b"q" * 400}, "url"),
        ({"query": b"q" * LONGEST_KEPT}, "path"),
        ({"path": "/" + "p" * LONGEST_KEPT}, "prefix"),
    ],
)
def test_a_url_that_is_too_long_is_purged_with_its_neighbours(
    changes: dict[str, object], kind: str
) -> None:
    """Each process keeps what was purged, so that it has to have an end."""
    found, name = target_of(replace(POST, **changes))  # type: ignore[arg-type]
    assert found == kind
    assert len(name) <= LONGEST_KEPT
    assert name.startswith("http://shop.example/")


@given(
    st.text(max_size=40) | st.text(":/?#@[]\\.%hostp8", max_size=30),
    st.sampled_from(["", "shop.example", "[::1]:80", "[", "a@b", "x:y"]),
    st.sampled_from(["", "/api", "*", "/a%2F"]),
)
def test_nothing_raises(reference: str, host: str, mount: str) -> None:
    """Whatever stands there; and what comes of it is always of the same origin and mount."""
    request = replace(POST, host=host, script_name=mount)
    found = invalidated(request, 201, [("Location", reference), ("Content-Location", reference)])
    assert 1 <= len(found) <= 2
    assert {(each.scheme, each.host, each.script_name) for each in found} == {("http", host, mount)}
    assert all(target_of(each)[1].startswith("http://") for each in found)
