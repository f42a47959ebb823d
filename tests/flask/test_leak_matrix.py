"""Each way to know users, in each order of decorators: none ever sees the other's answer.

Two users and nobody ask in turn: plainly, by HEAD, with each other's validators, while what is
stored is stale, while it is revalidated, and while the view fails.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, abort, render_template_string, request
from flask.views import MethodView, View
from werkzeug.test import TestResponse

from flask_larder import Cache
from flask_larder.conditional import entity_tag_of
from flask_larder.flask.tracking import caches_of
from flask_larder.testing import forbid_unkeyed_reads
from tests.core.test_coalesce import until
from tests.flask.ways_to_know import KNOWN, UNKNOWN, Way, required_by_hand

Decorator = Callable[[Callable[..., Any]], Any]
Placing = Callable[["Site", str, Decorator], None]

USERS = ("ann", "roberta", None)  # of different lengths, which is all that HEAD shows
STALE = {"stale_while_revalidate": 60, "stale_if_error": 60}


class Site:
    """An app with one view for each set of options, and what its answers were."""

    def __init__(self, app: Flask, cache: Cache, way: Way) -> None:
        self.app, self.cache, self.way = app, cache, way
        self.fails = False
        self.leaks: list[str] = []
        way.prepare(app)
        self.client = app.test_client(use_cookies=False)
        self.sent = {user: way.send(app, user) for user in USERS if user} | {None: {}}

    def page(self) -> Any:
        """The view: a greeting for whom it is."""
        if self.fails:
            abort(503)
        return self.answer(f"hello {self.way.load() or 'nobody'}")

    @staticmethod
    def answer(text: str) -> Any:
        """What the view returns: where the response says itself for how long it is fresh, all."""
        return (text, {"Cache-Control": "max-age=300"}) if request.path == "/http" else text

    @property
    def required(self) -> Decorator:
        """The decorator that lets none but users through."""

        def by_hand(view: Callable[..., Any]) -> Callable[..., Any]:
            return functools.wraps(view)(required_by_hand(self.way)(view))

        return self.way.required or by_hand

    def ask(self, url: str, user: str | None, method: str = "GET", tag: str = "") -> TestResponse:
        """One answer, which is looked at."""
        options = {**self.sent[user]}
        if tag:
            options["headers"] = {**options.get("headers", {}), "If-None-Match": tag}
        answer = self.client.open(url, method=method, **options)
        if self.is_of_another(answer, user, method, tag):
            self.leaks.append(f"{method} {url} for {user} {tag}: {answer.status} {answer.text}")
        return answer

    def is_of_another(self, answer: TestResponse, user: str | None, method: str, tag: str) -> bool:
        """Whether *answer* is for somebody else than *user*."""
        if answer.status_code == 401:
            return user is not None
        if answer.status_code == 503:
            return not self.fails
        own = f"hello {user or 'nobody'}"
        if self.way.takes_users_for_nobody and user:  # never the other way round
            return "hello" in answer.text and answer.text not in {own, "hello nobody"}
        if answer.status_code == 304:
            return tag != self.tag_of(user)
        if answer.status_code != 200 or (method == "GET" and answer.text != own):
            return True
        return answer.headers.get("Content-Length", str(len(own))) != str(len(own))

    def tag_of(self, user: str | None) -> str:
        """The entity tag of a user's own answer."""
        return entity_tag_of(f"hello {user or 'nobody'}".encode())

    def quiet(self) -> None:
        """Wait until nothing is revalidated any more."""
        background = caches_of(self.app)[self.cache].background
        until(lambda: not background._here()._threads)


def visits(site: Site, url: str) -> Iterator[TestResponse]:
    """All that the users do at *url*."""
    tags = [site.tag_of(user) for user in USERS]

    def each() -> Iterator[TestResponse]:
        for user in USERS:
            yield site.ask(url, user)
        for user in reversed(USERS):
            yield site.ask(url, user, "HEAD")

    yield from each()
    for user in USERS:
        for tag in tags:
            yield site.ask(url, user, tag=tag)
    site.cache.clear(soft=True)
    yield from each()
    site.quiet()
    yield from each()
    site.cache.clear(soft=True)
    site.fails = True
    yield from each()
    site.quiet()
    site.fails = False


def by_view(site: Site, url: str, cached: Decorator) -> None:
    site.app.add_url_rule(url, url, cached(site.page))


def cached_outside(site: Site, url: str, cached: Decorator) -> None:
    site.app.add_url_rule(url, url, cached(site.required(site.page)))


def cached_inside(site: Site, url: str, cached: Decorator) -> None:
    site.app.add_url_rule(url, url, site.required(cached(site.page)))


def cached_between(site: Site, url: str, cached: Decorator) -> None:
    site.app.add_url_rule(url, url, site.required(cached(site.required(site.page))))


def cached_twice(site: Site, url: str, cached: Decorator) -> None:
    site.app.add_url_rule(url, url, cached(site.required(cached(site.page))))


def inside_of_one_that_hides(site: Site, url: str, cached: Decorator) -> None:
    site.app.add_url_rule(url, url, required_by_hand(site.way)(cached(site.page)))


def outside_of_one_that_hides(site: Site, url: str, cached: Decorator) -> None:
    site.app.add_url_rule(url, url, cached(required_by_hand(site.way)(site.page)))


def by_hook(site: Site, url: str, cached: Decorator) -> None:
    @site.app.before_request
    def load() -> None:
        site.way.load()

    by_view(site, url, cached)


def by_hook_that_asks_for_login(site: Site, url: str, cached: Decorator) -> None:
    @site.app.before_request
    def load() -> None:
        if site.way.load() is None:
            abort(401)

    by_view(site, url, cached)


def by_url_hook(site: Site, url: str, cached: Decorator) -> None:
    @site.app.url_value_preprocessor
    def load(_endpoint: str | None, _values: dict[str, Any] | None) -> None:
        site.way.load()

    by_view(site, url, cached)


def by_hook_of_blueprint(site: Site, url: str, cached: Decorator) -> None:
    blueprint = Blueprint(f"blueprint-{url[1:]}", __name__)

    @blueprint.before_request
    def load() -> None:
        site.way.load()

    blueprint.add_url_rule(url, "view", cached(site.page))
    site.app.register_blueprint(blueprint)


def by_template(site: Site, url: str, cached: Decorator) -> None:
    @site.app.context_processor
    def load() -> dict[str, Any]:
        return {"user": site.way.load() or "nobody"}

    def view() -> Any:
        site.page()
        return site.answer(render_template_string("hello {{ user }}"))

    site.app.add_url_rule(url, url, cached(view))


def class_with_decorators(order: str) -> Placing:
    def place(site: Site, url: str, cached: Decorator) -> None:
        class Page(View):
            init_every_request = False
            decorators = [site.required, cached] if order == "outside" else [cached, site.required]

            def dispatch_request(self) -> Any:
                return site.page()

        site.app.add_url_rule(url, view_func=Page.as_view(url))

    return place


def method_with_decorators(order: str) -> Placing:
    def place(site: Site, url: str, cached: Decorator) -> None:
        def both(method: Callable[..., Any]) -> Any:
            if order == "outside":
                return cached(site.required(method))
            return site.required(cached(method))

        class Page(MethodView):
            @both
            def get(self) -> Any:
                return site.page()

        site.app.add_url_rule(url, view_func=Page.as_view(url))

    return place


def method_in_class_with_decorators(site: Site, url: str, cached: Decorator) -> None:
    class Page(MethodView):
        decorators = (site.required,)

        @cached
        def get(self) -> Any:
            return site.page()

    site.app.add_url_rule(url, view_func=Page.as_view(url))


PLACINGS: dict[str, Placing] = {
    function.__name__: function
    for function in (
        by_view,
        cached_outside,
        cached_inside,
        cached_between,
        cached_twice,
        inside_of_one_that_hides,
        outside_of_one_that_hides,
        by_hook,
        by_hook_that_asks_for_login,
        by_url_hook,
        by_hook_of_blueprint,
        by_template,
        method_in_class_with_decorators,
    )
} | {
    "class_outside": class_with_decorators("outside"),
    "class_inside": class_with_decorators("inside"),
    "method_outside": method_with_decorators("outside"),
    "method_inside": method_with_decorators("inside"),
}


def options_that_say_who(way: Way) -> dict[str, dict[str, Any]]:
    """Options with which answers for users are stored, by the URL of their view."""
    options: dict[str, dict[str, Any]] = {"/vary": {"vary": way.load, **STALE}}
    if way.fields:
        options["/fields"] = {"vary": way.fields, "stale_if_error": 60}
    return options


def options_that_do_not(way: Way) -> dict[str, dict[str, Any]]:
    """Options with which answers for users are not to be stored."""
    return {
        "/plain": {"query_string": False, **STALE},
        "/unless": {"unless": lambda: way.load() is not None, **STALE},
        "/key": {"make_cache_key": lambda *_: f"key {way.load()}", **STALE},
        "/page": {"make_cache_key": lambda *_: "page", **STALE},
    }


def outcomes(answers: Iterable[TestResponse]) -> set[str]:
    """What became of *answers*, where the view was recognised as one: hits, and details."""
    shown = [answer.headers.get("Cache-Status", "") for answer in answers]
    return {
        "hit" if status == "larder; hit; ttl=300" else status.rpartition("detail=")[2]
        for status in shown
    }


@pytest.mark.parametrize("placing", PLACINGS)
@pytest.mark.parametrize("way", KNOWN)
def test_none_sees_the_answer_of_another(app: Flask, cache: Cache, way: str, placing: str) -> None:
    """Whatever knows the user, wherever, and with whatever options, each answer is one's own."""
    site = Site(app, cache, KNOWN[way])
    told = options_that_say_who(site.way)
    for url, options in (told | options_that_do_not(site.way)).items():
        PLACINGS[placing](site, url, cache.cached(**options))
    PLACINGS[placing](site, "/http", cache.http_cached(**STALE))
    with forbid_unkeyed_reads(app, ignore=site.way.also_read):
        seen = {url: outcomes(visits(site, url)) for url in told}
    for url in (*options_that_do_not(site.way), "/http"):
        list(visits(site, url))
    assert site.leaks == []
    if "hides" not in placing:  # which makes a value of it
        assert "stale-while-revalidate" in seen["/vary"]
        assert all("hit" in found for found in seen.values())
        # Of two caches the inner one has sent it, and the outer one tells.
        is_told = "/fields" not in seen or placing == "cached_twice"
        assert is_told or "stale-if-error" in seen["/fields"]


@pytest.mark.parametrize("placing", PLACINGS)
@pytest.mark.parametrize("name", UNKNOWN)
def test_where_the_cache_cannot_know_it_says_so(
    app: Flask, cache: Cache, name: str, placing: str
) -> None:
    """Wherever the user is loaded, what by is told by name; once the key has it, nothing leaks."""
    site = Site(app, cache, UNKNOWN[name])
    told = options_that_say_who(site.way)
    if name.startswith("args"):
        told["/query"] = {"query_string": True, **STALE}
    untold = {url: options_that_do_not(site.way)[url] for url in ("/plain", "/page")}
    for url, options in (told | untold).items():
        PLACINGS[placing](site, url, cache.cached(**options))
    # A vary= function that finds the user loaded has not read the query, which the view does.
    again = [name] if name.startswith("args") and placing == "cached_between" else []
    with forbid_unkeyed_reads(app, ignore=again):
        for url in told:
            list(visits(site, url))
    assert site.leaks == []
    for url in untold:
        with pytest.raises(AssertionError) as failure, forbid_unkeyed_reads(app):
            list(visits(site, url))
        assert f" reads {name}, which its key ignores: " in str(failure.value)


def test_log_says_so(app: Flask, cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    """In debug mode the very same lines are in the log, once."""
    app.debug = True
    site = Site(app, cache, UNKNOWN["headers['X-Who']"])
    by_hook(site, "/", cache.cached())
    list(visits(site, "/"))
    assert site.leaks  # which is why it is told
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "reads headers['X-Who']" in line]) == 1
