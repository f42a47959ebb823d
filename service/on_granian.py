"""granian."""

import contextlib
import functools
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from granian.constants import Interfaces
from granian.net import SocketSpec  # type: ignore[attr-defined] # granian.server has it from there
from granian.server.mp import MPServer, WorkerProcess

from service import logs, rolling_restart, worker
from service.launch import Launch
from service.signals import HangUp

RETIRE = signal.SIGUSR1  # to a worker: accept no more connections
READ_SECONDS = 0.25  # within which a connection's first request is read

Loader = Callable[[], Any]


def run(launch: Launch, on_hang_up: HangUp) -> None:
    """Run granian until it is told to stop; SystemExit carries its exit code."""
    server = _Server(
        "service.wsgi:app",
        address=launch.address.ip,
        port=launch.address.port,
        interface=Interfaces.WSGI,
        websockets=False,
        workers=launch.workers,
        blocking_threads=launch.threads,
        workers_kill_timeout=launch.drain_seconds,  # type: ignore[arg-type] # it is only waited for
        respawn_failed_workers=True,
        respawn_interval=0.5,
        log_dictconfig=logs.config(),
    )
    server.on_startup(on_hang_up.take_over)
    load = functools.partial(worker.load, os.getpid(), launch.drain_seconds)
    try:
        server.serve(target_loader=load, wrap_loader=False)
    except SystemExit:
        # Where SIGTERM goes to the workers, too, granian takes that for a crash of theirs.
        if not server.interrupt_signal:
            raise


class _Server(MPServer):
    """granian, except that a rolling restart loses no request (docs/decisions/0007).

    What is overridden here is not documented: the tests of the rolling restart tell whether
    another version of granian still has it.
    """

    _is_reloading = False

    def signal_handler_interrupt(self, *_: Any) -> None:
        # make, timeout and whoever ends the whole group may all send one. A handler amid another
        # would wait for a lock that the other one holds, and for ever.
        if not self.interrupt_signal:
            super().signal_handler_interrupt()  # type: ignore[no-untyped-call]

    def _init_shared_socket(self) -> None:
        # On Linux each worker would listen by itself (SO_REUSEPORT), and whoever waits in its
        # queue when it ends is cut off. All workers share one queue here, as granian does it on
        # other systems. It is there from the beginning, so that nobody is refused meanwhile.
        holder: Any = SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()
        self._ssp, self._shd, self._sfd = None, holder, holder.get_fd()
        self._sso = socket.socket(fileno=holder.get_fd())
        self._sso.set_inheritable(True)
        self._sso.listen(self.backlog)

    def _spawn_worker(  # type: ignore[override] # as granian itself overrides it
        self, idx: int, target: Any, callback_loader: Loader
    ) -> WorkerProcess:
        listener: Any = self._sfd
        loader = functools.partial(_load, callback_loader, listener)
        return super()._spawn_worker(idx, target, loader)

    def _respawn_workers(
        self,
        workers: list[int],
        spawn_target: Any,
        target_loader: Loader,
        delay: float = 0,  # noqa: ARG002 - the end of the old one waits for the new one instead
    ) -> None:
        for index in workers:
            if self.interrupt_signal or not self._replace(index, spawn_target, target_loader):
                return

    def _reload(self, spawn_target: Any, target_loader: Loader) -> None:
        # A worker that crashes meanwhile is replaced, and its crash is heard of afterwards. It
        # is replaced once more then; it must not be taken for one that crashes again and again.
        self._is_reloading = True
        try:
            super()._reload(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        finally:
            self._is_reloading = False

    def _replace(self, index: int, spawn_target: Any, target_loader: Loader) -> bool:
        old: Any = self.wrks[index]
        if not (old.is_alive() or self._is_reloading):
            self.respawned_wrks[index] = time.monotonic()  # if that crashes soon, granian gives up
        old.interrupt_by_parent = True
        new = self._start_successor(index, spawn_target, target_loader)
        if new is None:
            old.interrupt_by_parent = False
            if not old.is_alive() and not self.interrupt_signal:
                self.interrupt_children.append(index)
                self.main_loop_interrupt.set()
            return False
        self.wrks[index], self.wrks[-1] = new, old
        if rolling_restart.goes(_Worker(old), self.workers_kill_timeout or 0, self._is_stopping):
            self.wrks.pop()
        return True

    def _start_successor(self, index: int, spawn_target: Any, target_loader: Loader) -> Any:
        """Return a new worker that is ready, the last of the list; None if it does not come up."""
        end, its_end = rolling_restart.channel()
        loader = functools.partial(_load_and_tell, target_loader, its_end)
        new: Any = self._spawn_worker(index, spawn_target, loader)
        new.interrupt_by_parent = True  # its end is noticed here
        with end:
            with its_end:
                new.start()
            self.wrks.append(new)  # what is in the list is stopped with the service
            if rolling_restart.comes_up(_Worker(new), end, self._is_stopping):
                new.interrupt_by_parent = False
                return new
        if not self.interrupt_signal:
            self.wrks.pop()
        return None

    def _is_stopping(self) -> bool:
        return self.interrupt_signal


class _Worker:
    """A worker, as the rolling restart takes it."""

    def __init__(self, process: Any) -> None:  # its methods are not typed
        self._process = process

    def ends(self, within: float) -> bool:
        self._process.join(within)
        return not (self._process.is_alive())

    def stop_accepting(self) -> float:
        if self._process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process._id(), RETIRE)  # noqa: SLF001 - the process id
        return READ_SECONDS

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _load(load: Loader, listener: int) -> Any:
    # The handler of the main process, which was inherited, would swallow it until granian sets
    # its own. Nothing is under way yet.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(RETIRE, lambda *_: _stop_accepting(listener))
    return load()


def _load_and_tell(load: Loader, its_end: socket.socket) -> Any:
    app = load()
    rolling_restart.tell_ready(its_end)
    return app


def _stop_accepting(listener: int) -> None:
    """Take the listening socket out of what this process waits for.

    When granian is told to stop, it closes the connections of which it has read nothing yet. Who
    has just connected is among them, and has sent a request in vain. So the connections go to the
    others first, for as long as it takes to read what those that are here have sent. granian has
    no means for that, but the system has: granian waits for connections by epoll.
    """
    if not hasattr(select, "epoll"):
        return
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):  # it waits for other things
            if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":  # noqa: PTH115
                with select.epoll.fromfd(os.dup(int(name))) as poller:
                    poller.unregister(listener)
