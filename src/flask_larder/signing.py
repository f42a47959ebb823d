"""Signatures of what is stored: whoever can write to the store cannot make us believe it.

A signed value is ``larder1s``, a digest (32 bytes), and the value as it would stand there unsigned.
The digest is BLAKE2b with a key of our own (RFC 7693), of the key in the store and of the value: a
value that was changed, cut off, or copied from another key does not fit it.
"""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import Final

from flask_larder.errors import CorruptEntry

SHORTEST_SECRET: Final = 16
"""In bytes; fewer could be guessed."""

_SIGNED: Final = b"larder1s"
_DIGEST_BYTES: Final = 32
_VALUE_AT: Final = len(_SIGNED) + _DIGEST_BYTES
_LENGTH: Final = struct.Struct(">I")

# They keep these digests apart from all others that the same secret may be used for.
_FOR_KEYS: Final = b"larder1 key"
_FOR_VALUES: Final = b"larder1 value"


class Signer:
    """Signs values for their place in a store whose keys begin with *prefix*, and checks them.

    The first of *secrets* signs, and all of them verify. Shows none of them.
    """

    __slots__ = ("_keyed", "_prefix")

    def __init__(self, secrets: Sequence[bytes], prefix: str) -> None:
        self._prefix = prefix
        self._keyed = tuple(
            hashlib.blake2b(
                # A secret may be longer than the 64 bytes that BLAKE2b takes for a key.
                key=hashlib.blake2b(secret, person=_FOR_KEYS).digest(),
                digest_size=_DIGEST_BYTES,
                person=_FOR_VALUES,
            )
            for secret in secrets
        )

    def sign(self, key: str, value: bytes) -> bytes:
        """*value* as it is to be stored under *key*."""
        return b"".join((_SIGNED, self._digest(self._keyed[0], key, value), value))

    def verify(self, key: str, signed: bytes) -> bytes:
        """The value that was signed for *key*; else ``CorruptEntry``."""
        if not signed.startswith(_SIGNED):
            raise CorruptEntry("a value is not signed")
        view = memoryview(signed)
        digest, value = view[len(_SIGNED) : _VALUE_AT], view[_VALUE_AT:]
        for keyed in self._keyed:
            if hmac.compare_digest(digest, self._digest(keyed, key, value)):
                return bytes(value)
        raise CorruptEntry("a value does not fit its signature, its key in the store, or our keys")

    def _digest(self, keyed: hashlib.blake2b, key: str, value: bytes | memoryview) -> bytes:
        name = f"{self._prefix}{key}".encode("utf-8", "surrogatepass")
        digest = keyed.copy()
        digest.update(_LENGTH.pack(len(name)) + name)  # with its boundary
        digest.update(value)
        return digest.digest()
