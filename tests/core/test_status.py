"""The outcome of a request, and the field that tells it (RFC 9211)."""

import pytest

from flask_larder.status import CacheStatus


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (CacheStatus(ttl=23.0), "larder; hit; ttl=23"),
        (CacheStatus("uri-miss", stored=True, ttl=30.0), "larder; fwd=uri-miss; stored; ttl=30"),
        (CacheStatus("bypass", detail="unless"), "larder; fwd=bypass; detail=unless"),
        (CacheStatus("stale", detail="status-503"), "larder; fwd=stale; detail=status-503"),
        (CacheStatus("method"), "larder; fwd=method"),
        (CacheStatus("vary-miss"), "larder; fwd=vary-miss"),
    ],
)
def test_the_field_has_the_parameters_of_rfc_9211(status: CacheStatus, text: str) -> None:
    """``hit``, ``fwd``, ``stored``, ``ttl`` and ``detail`` as RFC 9211 section 2 has them."""
    assert str(status) == text


@pytest.mark.parametrize(
    ("ttl", "shown"), [(0.001, 1), (1.0, 1), (29.4, 30), (3600.0, 3600), (-0.1, -1)]
)
def test_ttl_is_a_whole_number_and_never_0_for_what_is_fresh(ttl: float, shown: int) -> None:
    """``ttl`` is an Integer (RFC 9211 section 2.5); what is fresh shows at least a second."""
    assert str(CacheStatus(ttl=ttl)) == f"larder; hit; ttl={shown}"


def test_a_hit_is_what_was_not_forwarded() -> None:
    """``hit`` and ``fwd`` exclude each other (RFC 9211 section 2.1)."""
    assert CacheStatus(ttl=1.0).is_hit
    assert not CacheStatus("uri-miss", stored=True, ttl=1.0).is_hit
    assert "hit" not in str(CacheStatus("uri-miss"))
    assert "fwd" not in str(CacheStatus())
