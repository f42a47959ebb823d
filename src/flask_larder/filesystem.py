"""The :class:`~flask_larder.store.Store` in files, for the processes of one host, through cachelib.

A directory of its own for each prefix, so that clearing one touches nothing else::

    <CACHE_DIR>/larder1-<prefix>-<digest>/lock
    <CACHE_DIR>/larder1-<prefix>-<digest>/entries/<digest of the key>

An entry is when it expires (4 bytes, seconds since the epoch), and the bytes as they are. Reading
needs no lock, since an entry takes its place at once. Whoever writes has the lock.
"""

import fcntl
import hashlib
import math
import os
import stat
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, cast
from urllib.parse import quote

from cachelib.file import FileSystemCache

from flask_larder.breaker import Breaker
from flask_larder.errors import StoreUnavailable
from flask_larder.per_process import PerProcess

LARGEST_VALUE: Final = 64 * 1024 * 1024
"""In bytes. A larger file is not read, so that one that was planted cannot fill the memory."""

_EXPIRY: Final = struct.Struct("I")  # cachelib's
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class FileStore:
    """Keeps bytes in files below *directory*, and about *threshold* of them for each *prefix*.

    *mode* are the permissions of the files. Who does not get the lock within *patience* seconds
    does not write. What cannot be read is not there.
    """

    def __init__(
        self,
        directory: Path,
        prefix: str,
        *,
        threshold: int,
        mode: int = 0o600,
        patience: float = 0.1,
    ) -> None:
        self._place = directory / _place_of(prefix)
        self._threshold = threshold
        self._mode = mode
        self._patience = patience
        self._files: _Files | None = None
        self._breaker = PerProcess(lambda: Breaker(time.monotonic, str(self._place)))

    def get(self, key: str) -> bytes | None:
        """See :class:`~flask_larder.store.Store`."""
        files = self._readable()
        return None if files is None else cast("bytes | None", files.get(key))

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """See :class:`~flask_larder.store.Store`."""
        return [self.get(key) for key in keys]

    def set(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`. It may be kept for a second longer."""
        with self._writing() as files:
            return _put(files, key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """See :class:`~flask_larder.store.Store`."""
        with self._writing() as files:
            return not files.has(key) and _put(files, key, value, ttl)

    def delete(self, keys: Sequence[str]) -> int:
        """See :class:`~flask_larder.store.Store`."""
        if not keys:
            return 0
        with self._writing() as files:
            return sum(files.has(key) and files.delete(key) for key in keys)

    def clear(self) -> None:
        """See :class:`~flask_larder.store.Store`."""
        with self._writing() as files:
            if not files.clear():
                raise OSError("not every file could be removed")

    def ping(self, timeout: float) -> None:
        """See :class:`~flask_larder.store.Store`. Waits until nobody else writes."""
        with self._reporting(self._breaker(), time.monotonic()), self._locked(timeout):
            pass

    def _readable(self) -> "_Files | None":
        """The files, or ``None`` where there can be none."""
        if self._files is not None:
            return self._files
        try:
            return self._opened()
        except OSError:
            return None

    @contextmanager
    def _writing(self) -> Iterator["_Files"]:
        """The files, while nobody else writes to them."""
        breaker = self._breaker()
        asked_at = breaker.admit()
        if asked_at is None:
            raise StoreUnavailable(f"{self._place} is away")
        with self._reporting(breaker, asked_at), self._locked(self._patience):
            yield self._opened()

    @contextmanager
    def _reporting(self, breaker: Breaker, asked_at: float) -> Iterator[None]:
        """Tell *breaker* how it went, and raise errors as our own."""
        try:
            yield
        except TimeoutError as error:
            breaker.failed(error, asked_at, is_late=True)
            raise StoreUnavailable(f"{self._place} is away: {error}") from error
        except OSError as error:
            breaker.refused(error, asked_at)
            raise StoreUnavailable(f"{self._place} refuses: {error}") from error
        breaker.succeeded(asked_at)

    def _opened(self) -> "_Files":
        """The files, with their directories, which may have been taken away."""
        entries = self._place / "entries"
        for directory in (self._place, entries):
            if not directory.is_dir():
                directory.mkdir(parents=True, exist_ok=True)
                directory.chmod(_directory_mode(self._mode))
        if self._files is None:
            self._files = _Files(str(entries), self._threshold, mode=self._mode)
        return self._files

    @contextmanager
    def _locked(self, patience: float) -> Iterator[None]:
        """Be the only one who writes, also among threads. Raises ``TimeoutError``."""
        self._opened()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._place / "lock", flags, self._mode)
        try:
            _await_lock(descriptor, patience)
            try:
                yield
            finally:
                # Closing is not enough: a child that was forked meanwhile has it open too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)


def _place_of(prefix: str) -> str:
    """The name of a prefix' directory: one for each, also where the system ignores case."""
    digest = hashlib.sha256(prefix.encode()).hexdigest()[:32]
    return f"larder1-{quote(prefix, safe='')[:60]}-{digest}"


def _directory_mode(mode: int) -> int:
    """Whoever may read the files may also find them, and whoever may write may replace them."""
    return mode | (mode & 0o444) >> 2


def _await_lock(descriptor: int, patience: float) -> None:
    deadline, pause = time.monotonic() + patience, 0.0005
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"others have been writing for {patience:g} s") from None
        else:
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.01)


def _put(files: "_Files", key: str, value: bytes, ttl: float) -> bool:
    if len(value) > LARGEST_VALUE:
        files.delete(key)
        return False
    now = time.time()
    # cachelib counts whole seconds from the last one, and takes 0 for ever.
    return files.set(key, value, max(1, math.ceil(now + ttl) - int(now)))


class _Plain:
    """What cachelib reads and writes with. Its own would pickle; this one cannot."""

    @staticmethod
    def load(file: BinaryIO) -> bytes:
        """What is left of *file*."""
        return file.read()


class _Files(FileSystemCache):
    """cachelib's cache, holding bytes.

    It is made for one thread that owns the directory. What differs is for many that share it,
    and for files that somebody else has put there: it neither waits for permissions, nor counts
    entries in a file, nor opens what is no file, nor hides what went wrong in writing. Everything
    but ``get`` and ``has`` needs the lock.
    """

    serializer = _Plain()  # type: ignore[assignment]
    _count = 0

    def set(
        self,
        key: str,
        value: bytes,
        timeout: int | timedelta | None = None,
        mgmt_element: bool = False,  # noqa: ARG002 - there are none
    ) -> bool:
        """Keep *value* for *timeout* seconds. Raises ``OSError``, and leaves no half of it."""
        self._prune()
        descriptor, name = tempfile.mkstemp(self._fs_transaction_suffix, dir=self._path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_EXPIRY.pack(self._normalize_timeout(timeout)))
                file.write(value)
            Path(name).chmod(self._mode or 0o600)
            Path(name).replace(self._get_filename(key))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return True

    def clear(self) -> bool:
        """Remove all entries; whether that worked for every one."""
        self._remove_leftovers()
        return super().clear()

    def _prune(self) -> None:
        """Make room where there are too many, and for some more: each file is looked at."""
        names = os.listdir(self._path)  # noqa: PTH208 - paths are not needed
        self._count = sum(not self._is_mgmt(name) for name in names)
        if not self._over_threshold():
            return
        self._remove_leftovers()
        threshold, self._threshold = self._threshold, max(1, self._threshold * 9 // 10)
        try:
            super()._prune()
        finally:
            self._threshold = threshold

    def _remove_leftovers(self) -> None:
        """Remove what writers have left that were killed."""
        for left in Path(self._path).glob(f"*{self._fs_transaction_suffix}"):
            left.unlink(missing_ok=True)

    def _is_mgmt(self, name: str) -> bool:
        return name.endswith(self._fs_transaction_suffix)

    @property
    def _file_count(self) -> int:
        return self._count

    def _update_count(self, delta: int | None = None, value: int | None = None) -> None:
        self._count = self._count + delta if delta else value or 0

    @contextmanager
    def _safe_stream_open(self, path: str, mode: str) -> Iterator[Any]:
        """Open an entry. Whatever else stands there, or cannot be opened, is not there."""
        try:
            descriptor = os.open(path, _READ)
        except OSError as error:
            raise FileNotFoundError(path) from error
        try:
            about = os.fstat(descriptor)
            is_entry = stat.S_ISREG(about.st_mode) and about.st_size >= _EXPIRY.size
            if not is_entry or about.st_size > _EXPIRY.size + LARGEST_VALUE:
                raise FileNotFoundError(path)
            with os.fdopen(descriptor, mode, closefd=False) as file:
                yield file
        finally:
            os.close(descriptor)
