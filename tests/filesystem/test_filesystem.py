"""The store in files: what else may be in its directory, who else may use it, and its faults."""

import hashlib
import logging
import os
import pickle
import resource
import signal
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from cachelib import FileSystemCache

from flask_larder.breaker import PATIENCE
from flask_larder.errors import StoreUnavailable
from flask_larder.filesystem import LARGEST_VALUE, FileStore
from tests.bomb import Bomb

LONG = 600.0
KEY = "larder1:key=name"
COUNT_FILE = "__wz_cache_count"  # cachelib's, which holds a number
LEFTOVER = "x.__wz_cache"
THREADS = 20


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """A store in a directory that is not there yet, with one entry."""
    store = FileStore(tmp_path / "cache", "p_", threshold=100, patience=10.0)
    store.set(KEY, b"value", LONG)
    return store


def entries_of(store: FileStore) -> Path:
    return store._place / "entries"


def file_of(store: FileStore, key: str) -> Path:
    return entries_of(store) / hashlib.sha256(key.encode()).hexdigest()


def framed(data: bytes, expires: float | None = None) -> bytes:
    """*data* as cachelib stores it."""
    return struct.pack("I", int(time.time() + LONG if expires is None else expires)) + data


@pytest.mark.parametrize("frame", [framed, lambda bomb: bomb], ids=["framed", "bare"])
def test_a_bomb_in_any_file_is_never_set_off(
    store: FileStore, frame: Callable[[bytes], bytes]
) -> None:
    """In an entry, in cachelib's file with the number of entries, and in all of a full store."""
    before, bomb = Bomb.exploded, frame(pickle.dumps(Bomb()))
    for name in (KEY, COUNT_FILE, *(f"k{number}" for number in range(150))):
        file_of(store, name).write_bytes(bomb)

    store.get_many([KEY, COUNT_FILE])
    store.add(KEY, b"v", LONG)
    store.set("new", b"v", LONG)  # removes what is too much
    store.delete(["k1"])
    FileStore(store._place.parent, "p_", threshold=100).set("other", b"v", LONG)
    store.clear()
    store.ping(1.0)

    assert Bomb.exploded == before


def test_cachelib_alone_sets_it_off(tmp_path: Path) -> None:
    """The bomb above is none of wet powder: its place and its frame are right."""
    before = Bomb.exploded
    cache = FileSystemCache(str(tmp_path))
    for name in (KEY, COUNT_FILE):
        path = tmp_path / hashlib.sha256(name.encode()).hexdigest()
        path.write_bytes(framed(pickle.dumps(Bomb())))
    cache.get(KEY)
    cache.set("new", b"v")

    assert Bomb.exploded > before + 1


def test_nothing_is_pickled_either(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the store does: it works where pickle does not."""

    def fail(*_: object) -> None:
        raise AssertionError

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, fail)
    crowded = FileStore(store._place.parent, "q_", threshold=10)
    for number in range(30):
        assert crowded.set(f"k{number}", b"v", LONG)

    assert crowded.get("k29") == b"v"
    assert crowded.delete(["k29"]) == 1
    crowded.clear()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    elsewhere = path.parent.parent.parent / "secret"
    elsewhere.write_bytes(framed(b"elsewhere"))
    path.symlink_to(elsewhere)


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(framed(b""))
        file.truncate(10 * LARGEST_VALUE)


PLANTED: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: path.write_bytes(b""),
    "three bytes": lambda path: path.write_bytes(b"abc"),
    "fifo": make_fifo,
    "link": make_link,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path),
    "too large": make_sparse,
    "expired": lambda path: path.write_bytes(framed(b"old", time.time() - 2)),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_no_entry_is_a_miss_and_is_replaced(
    store: FileStore, caplog: pytest.LogCaptureFixture, planted: str
) -> None:
    """At once, without a word, and without following it."""
    path = file_of(store, KEY)
    path.unlink()
    PLANTED[planted](path)

    started = time.monotonic()
    assert store.get(KEY) is None
    assert store.get(KEY) is None
    assert store.delete([KEY]) == 0
    assert store.add(KEY, b"new", LONG)
    assert time.monotonic() - started < 1.0
    assert store.get(KEY) == b"new"
    assert stat.S_ISREG(path.lstat().st_mode)
    assert caplog.messages == []


def test_a_directory_in_an_entrys_place_is_a_miss(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be replaced: the entry is not kept, which is told once, and others are."""
    path = file_of(store, KEY)
    path.unlink()
    path.mkdir()

    for _ in range(3):
        assert store.get(KEY) is None
        with pytest.raises(StoreUnavailable, match="refuses"):
            store.set(KEY, b"new", LONG)
    assert store.set("other", b"v", LONG)
    assert len(caplog.messages) == 1
    assert not list(entries_of(store).glob("*.__wz_cache"))


def test_a_value_that_is_too_large_is_not_kept(store: FileStore) -> None:
    """And neither is what it was to replace, which would be old."""
    assert store.set(KEY, bytes(LARGEST_VALUE + 1), LONG) is False
    assert store.get(KEY) is None
    assert store.set(KEY, bytes(LARGEST_VALUE), LONG) is True
    assert store.get(KEY) is not None


def test_files_of_others_stay(tmp_path: Path) -> None:
    """What else is in CACHE_DIR is neither counted, nor removed, nor taken for an entry."""
    theirs = [tmp_path / name for name in ("photo.jpg", COUNT_FILE, LEFTOVER, "larder1-notes")]
    for path in theirs:
        path.write_bytes(b"theirs")
    store = FileStore(tmp_path, "", threshold=3)
    for number in range(10):
        store.set(f"k{number}", b"v", LONG)
    store.clear()

    assert all(path.read_bytes() == b"theirs" for path in theirs)


def test_who_may_read_and_write_is_what_was_asked_for(tmp_path: Path) -> None:
    """By default nobody but the user; directories follow the mode of the files, not the umask."""
    for mode, directory_mode in ((0o600, 0o700), (0o640, 0o750), (0o660, 0o770), (0o644, 0o755)):
        store = FileStore(tmp_path / oct(mode), "p_", threshold=10, mode=mode)
        before = os.umask(0o077)
        try:
            store.set(KEY, b"v", LONG)
        finally:
            os.umask(before)
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in store._place.rglob("*")}
        assert modes.pop(entries_of(store)) == directory_mode
        assert stat.S_IMODE(store._place.stat().st_mode) == directory_mode
        assert modes.pop(file_of(store, KEY)) == mode


def test_no_more_than_the_threshold_is_kept(store: FileStore) -> None:
    """What has expired goes first, then what expires soonest; what was written last is there."""
    store.clear()
    for number in range(60):
        file_of(store, f"old{number}").write_bytes(framed(b"v", time.time() - 2))
    for number in range(200):
        assert store.set(f"k{number}", b"v", 1000.0 + number)
        assert store.get(f"k{number}") == b"v"
        assert len(list(entries_of(store).iterdir())) <= 101

    assert all(store.get(f"k{number}") for number in range(120, 200))
    assert not any(store.get(f"k{number}") for number in range(50))
    assert not any(file_of(store, f"old{number}").exists() for number in range(60))


def test_a_threshold_of_one_is_one(tmp_path: Path) -> None:
    """And not, as with cachelib's zero, none."""
    store = FileStore(tmp_path, "", threshold=1)
    for number in range(10):
        store.set(f"k{number}", b"v", LONG)
        assert len(list(entries_of(store).iterdir())) <= 2


@pytest.mark.parametrize("ttl", [1e-9, 0.5, 1.0, 1.5, 50.0, 365 * 24 * 3600.0])
def test_an_entry_is_kept_for_its_time_and_a_second_at_most(store: FileStore, ttl: float) -> None:
    """Never shorter, and never for ever, which is cachelib's zero."""
    for add in (store.set, store.add):
        store.delete([KEY])
        before = time.time()
        assert add(KEY, b"v", ttl)
        (expires,) = struct.unpack("I", file_of(store, KEY).read_bytes()[:4])
        assert before + ttl <= expires <= time.time() + ttl + 1


def test_where_there_can_be_no_directory_views_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is found, writing says so at once, and one line is logged for all of it."""
    (tmp_path / "file").write_bytes(b"")
    store = FileStore(tmp_path / "file", "p_", threshold=10)

    started = time.monotonic()
    for _ in range(10):
        assert store.get(KEY) is None
        assert store.get(KEY) is None
        for write in (
            lambda: store.set(KEY, b"v", LONG),
            lambda: store.add(KEY, b"v", LONG),
            lambda: store.delete([KEY]),
            store.clear,
            lambda: store.ping(1.0),
        ):
            with pytest.raises(StoreUnavailable, match="refuses"):
                write()
    assert time.monotonic() - started < 2.0
    assert len(caplog.messages) == 1


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """Let no file grow beyond *free_bytes*."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_what_is_there(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing new is kept, no half of it either, and there is one line of our own logger."""
    with full_disk(1000):
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="refuses"):
                store.set(KEY, b"x" * 2000, LONG)
            assert store.get(KEY) == b"value"

    assert [path.name for path in entries_of(store).iterdir()] == [file_of(store, KEY).name]
    assert [record.name for record in caplog.records] == ["flask_larder"]
    assert store.set(KEY, b"x" * 2000, LONG)


def test_a_directory_that_is_taken_away_is_made_anew(store: FileStore) -> None:
    """Whatever is removed while the app runs: the next entry is kept again."""
    for left in (file_of(store, KEY), entries_of(store), store._place, store._place.parent):
        for path in sorted(left.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        left.unlink() if left.is_file() else left.rmdir()

        assert store.get(KEY) is None
        assert store.set(KEY, b"v", LONG)
        assert store.get(KEY) == b"v"


def test_what_a_killed_writer_has_left_is_removed(store: FileStore) -> None:
    """By clear, and where there are too many entries."""
    left = entries_of(store) / LEFTOVER
    for tidy in (store.clear, lambda: [store.set(f"k{n}", b"v", LONG) for n in range(105)]):
        left.write_bytes(b"half")
        tidy()
        assert not left.exists()


def run_in_child(work: Callable[[Connection], None]) -> tuple[Any, Connection]:
    """Start a process that does *work* with its end of a pipe; the process and our end."""
    forked = get_context("fork")
    ours, theirs = forked.Pipe()
    child = forked.Process(target=work, args=(theirs,))
    child.start()
    theirs.close()
    return child, ours


pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def test_of_adds_in_several_processes_exactly_one_wins(store: FileStore) -> None:
    """For each of many keys, with processes that start at the same time."""
    keys = [f"k{number}" for number in range(50)]

    def add(pipe: Connection) -> None:
        mine = FileStore(store._place.parent, "p_", threshold=100, patience=20.0)
        pipe.recv()
        pipe.send([mine.add(key, b"v", LONG) for key in keys])

    children = [run_in_child(add) for _ in range(4)]
    for _, pipe in children:
        pipe.send("go")
    won = [pipe.recv() for _, pipe in children]
    for child, _ in children:
        child.join()

    assert [sum(answers) for answers in zip(*won, strict=True)] == [1] * len(keys)


@contextmanager
def locked_by_another(store: FileStore) -> Iterator[Callable[[], None]]:
    """Another process has the lock; yields what kills it."""

    def hold(pipe: Connection) -> None:
        with store._locked(10.0):
            pipe.send("locked")
            pipe.recv()

    child, pipe = run_in_child(hold)
    try:
        assert pipe.recv() == "locked"
        yield child.kill
    finally:
        child.kill()
        child.join()
        pipe.close()


@pytest.mark.usefixtures("_rests_briefly")
def test_a_writer_that_hangs_costs_little(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading goes on, writing waits for its time a few times and then not, with one line."""
    hasty = FileStore(store._place.parent, "p_", threshold=100, patience=0.05)
    with locked_by_another(store) as kill:
        started = time.monotonic()
        for _ in range(PATIENCE):
            with pytest.raises(StoreUnavailable, match="others have been writing"):
                hasty.set(KEY, b"new", LONG)
        assert time.monotonic() - started < PATIENCE * 0.05 + 1.0
        with pytest.raises(StoreUnavailable, match=r"is away$"):
            hasty.set(KEY, b"new", LONG)
        assert hasty.get(KEY) == b"value"
        with pytest.raises(StoreUnavailable):
            hasty.ping(timeout=0.01)
        kill()
        hasty.ping(timeout=10.0)  # the system has freed the lock of the dead

    assert hasty.set(KEY, b"new", LONG)
    assert hasty.get(KEY) == b"new"
    away, back = caplog.messages
    assert "is away, views answer without it: others have been writing" in away
    assert "is back after" in back


def test_a_child_that_is_forked_while_somebody_writes_holds_no_lock(store: FileStore) -> None:
    """It has the file open as well, and lives on."""

    def wait(pipe: Connection) -> None:
        pipe.recv()

    with store._locked(1.0):
        child, pipe = run_in_child(wait)
    try:
        started = time.monotonic()
        assert store.set(KEY, b"new", LONG)
        assert time.monotonic() - started < 5.0
    finally:
        pipe.send("end")
        child.join()


def test_a_writer_that_is_killed_leaves_a_whole_entry(store: FileStore) -> None:
    """Readers see the old one or the new one, also where the writer dies at any moment."""
    values = [bytes([number]) * 200_000 for number in range(2)]

    def write(pipe: Connection) -> None:
        pipe.send("begin")
        while True:
            for value in values:
                store.set(KEY, value, LONG)

    for _ in range(5):
        child, pipe = run_in_child(write)
        pipe.recv()
        seen = {store.get(KEY) for _ in range(50)}
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        seen.add(store.get(KEY))
        assert seen <= {b"value", *values}
    assert store.set(KEY, b"v", LONG)


def test_threads_that_write_leave_no_more_than_the_threshold(tmp_path: Path) -> None:
    """And every one of them is told that its entry was kept."""
    store = FileStore(tmp_path, "", threshold=20, patience=30.0)
    barrier = threading.Barrier(THREADS, timeout=30)

    def write(number: int) -> bool:
        barrier.wait()
        return all(store.set(f"k{number}-{n}", b"v", LONG) for n in range(10))

    with ThreadPoolExecutor(THREADS) as threads:
        assert all(threads.map(write, range(THREADS)))
    assert len(list(entries_of(store).iterdir())) <= 21


def test_nothing_is_made_before_it_is_used(tmp_path: Path) -> None:
    """The process that builds the app may be another user's than those that serve it."""
    FileStore(tmp_path / "cache", "p_", threshold=10)

    assert not (tmp_path / "cache").exists()


@pytest.fixture(autouse=True)
def _hear_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
