"""The store that signs, where others use the same place at the same moment."""

import time

from flask_larder.memory import MemoryStore
from flask_larder.signed import SignedStore
from flask_larder.signing import Signer

KEY = "larder1:key=lock"


class Contested(MemoryStore):
    """A store in which the holder's entry expires, and a rival's comes, between two questions."""

    rival: bytes | None = None

    def get(self, key: str) -> bytes | None:
        """Nothing, at the moment between the two."""
        if self.rival is not None:
            self.delete([key])
            rival, self.rival = self.rival, None
            self.add(key, rival, 60.0)
            return None
        return super().get(key)


def test_add_deletes_nothing_that_it_has_not_seen() -> None:
    """Where an entry of ours expires meanwhile, exactly one of those who add wins."""
    place = Contested(max_entries=10, max_bytes=10_000, clock=time.monotonic)
    signer = Signer([b"a secret of the tests"], "")
    store = SignedStore(place, signer, clock=time.monotonic)
    store.set(KEY, b"holder", 60.0)
    place.rival = signer.sign(KEY, b"rival")

    assert store.add(KEY, b"late", 60.0) is False
    assert store.get(KEY) == b"rival"
