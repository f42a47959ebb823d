"""Signatures: what we have signed for a place verifies there, and nothing else does anywhere."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_larder.errors import CorruptEntry
from flask_larder.signing import SHORTEST_SECRET, Signer

SECRET = b"a secret of ours, random enough"
OTHER = b"another secret, of somebody else"
KEY = "larder1:key=name"
BEGINNING = b"larder1s"

SECRETS = st.binary(min_size=SHORTEST_SECRET, max_size=100)
NAMES = st.text(st.characters(max_codepoint=0x2FF), max_size=10) | st.just("\ud800")


def refuses(signer: Signer, key: str, signed: bytes) -> bool:
    try:
        signer.verify(key, signed)
    except CorruptEntry:
        return True
    return False


@given(SECRETS, NAMES, NAMES, st.binary(max_size=200))
def test_what_was_signed_comes_back(secret: bytes, prefix: str, key: str, value: bytes) -> None:
    """Any value, for any key and secret; and it ends the signed bytes as it is."""
    signed = Signer([secret], prefix).sign(key, value)

    assert Signer([secret], prefix).verify(key, signed) == value
    assert signed.startswith(BEGINNING)
    assert signed[40:] == value


@given(st.binary(max_size=200))
def test_the_same_is_signed_the_same(value: bytes) -> None:
    """Nothing random is in it: a store that is written twice holds the same."""
    signer = Signer([SECRET], "p_")

    assert signer.sign(KEY, value) == signer.sign(KEY, value)


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_changed_value_is_refused(value: bytes, data: Any) -> None:
    """One byte anywhere, of the beginning, the digest or the value."""
    signer = Signer([SECRET], "p_")
    signed = bytearray(signer.sign(KEY, value))
    at = data.draw(st.integers(0, len(signed) - 1))
    signed[at] ^= data.draw(st.integers(1, 255))

    assert refuses(signer, KEY, bytes(signed))


@given(st.binary(max_size=20), st.binary(min_size=1, max_size=20))
def test_a_value_that_was_cut_off_or_lengthened_is_refused(value: bytes, more: bytes) -> None:
    """At each of its bytes."""
    signer = Signer([SECRET], "p_")
    signed = signer.sign(KEY, value)

    assert refuses(signer, KEY, signed + more)
    assert refuses(signer, KEY, BEGINNING + signed)
    for end in range(len(signed)):
        assert refuses(signer, KEY, signed[:end])


@given(NAMES, NAMES, NAMES, NAMES, st.binary(max_size=20))
def test_a_value_holds_for_its_place_only(
    prefix: str, key: str, other_prefix: str, other_key: str, value: bytes
) -> None:
    """Copied to another key, or to the same one behind another prefix, it is refused."""
    signed = Signer([SECRET], prefix).sign(key, value)

    refused = refuses(Signer([SECRET], other_prefix), other_key, signed)
    assert refused == (prefix + key != other_prefix + other_key)


def test_the_boundary_of_key_and_value_is_signed() -> None:
    """What moves from the key into the value makes another pair, with another digest."""
    signer = Signer([SECRET], "")
    digest = signer.sign("ab", b"c")[8:40]

    assert refuses(signer, "a", BEGINNING + digest + b"bc")
    assert signer.sign("a", b"bc")[8:40] != digest


@given(SECRETS, SECRETS)
def test_another_secret_does_not_verify(secret: bytes, other: bytes) -> None:
    """Also one that is longer than BLAKE2b's keys, or has the same beginning."""
    signed = Signer([secret], "").sign(KEY, b"v")

    assert refuses(Signer([other], ""), KEY, signed) == (secret != other)


@pytest.mark.parametrize("length", [16, 63, 64, 65, 128, 129, 4096])
def test_secrets_of_all_lengths_count_to_their_last_byte(length: int) -> None:
    """No part of a long one is ignored, and zeros at its end are not padding."""
    secret = bytes(length)
    signed = Signer([secret], "").sign(KEY, b"v")

    assert Signer([secret], "").verify(KEY, signed) == b"v"
    for other in (
        secret[:-1] + b"\1",
        secret + b"\0",
        secret[:-1],
        hashlib.blake2b(secret).digest(),
    ):
        assert refuses(Signer([other], ""), KEY, signed)


def test_the_first_secret_signs_and_all_verify() -> None:
    """So a new one can be made known everywhere before it signs, and an old one outlive it."""
    old, new = Signer([OTHER], ""), Signer([SECRET], "")
    both, reverse = Signer([SECRET, OTHER], ""), Signer([OTHER, SECRET], "")

    assert both.sign(KEY, b"v") == new.sign(KEY, b"v")
    assert reverse.sign(KEY, b"v") == old.sign(KEY, b"v")
    for signer in (both, reverse):
        assert signer.verify(KEY, old.sign(KEY, b"v")) == b"v"
        assert signer.verify(KEY, new.sign(KEY, b"v")) == b"v"
    assert refuses(new, KEY, old.sign(KEY, b"v"))


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"larder1",
        b"larder1d\xc0",
        BEGINNING,
        BEGINNING + bytes(31),
        BEGINNING + bytes(32),
        BEGINNING + hashlib.blake2b(b"v", digest_size=32).digest() + b"v",
        BEGINNING + hashlib.blake2b(b"v", digest_size=32, key=SECRET).digest() + b"v",
        b"larder2s" + Signer([SECRET], "").sign(KEY, b"v")[8:],
    ],
    ids=["nothing", "half", "unsigned", "no digest", "short digest", "zeros", "no key", "no place",
         "another format"],
)  # fmt: skip
def test_what_nobody_signed_is_refused(forged: bytes) -> None:
    """Unsigned values, digests of another make, and other releases' values."""
    assert refuses(Signer([SECRET], ""), KEY, forged)


def test_noise_is_refused() -> None:
    """Ten megabytes of it, also behind the right beginning."""
    noise = hashlib.shake_128(b"noise").digest(10 * 1024 * 1024)
    signer = Signer([SECRET, OTHER], "")

    assert refuses(signer, KEY, noise)
    assert refuses(signer, KEY, BEGINNING + noise)


def test_neither_secret_nor_digest_is_shown() -> None:
    """Not by what shows the signer, nor by what it raises, which could be logged."""
    signer = Signer([SECRET], "")
    with pytest.raises(CorruptEntry) as refused:
        signer.verify("other", signer.sign(KEY, b"the value"))

    for shown in (repr(signer), str(signer), repr(refused.value)):
        assert "secret" not in shown
        assert "the value" not in shown
        assert repr(signer.sign(KEY, b"the value")[8:40])[2:-1] not in shown
