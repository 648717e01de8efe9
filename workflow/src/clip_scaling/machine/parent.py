"""The warm interpreter: imports modules once, and forks for each script that asks (warm.py).

    python -m clip_scaling.machine.parent SOCKET DRIVER MODULE...

It starts no thread and touches no GPU: a fork makes its own CUDA context. It ends when the driver has ended, a
process of Snakemake, and its last fork. A fork whose job is killed is killed; forks die with this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .warm import FAILED, MOST_BYTES, SAVING, receive

PR_SET_PDEATHSIG = 1
SECONDS_TO_ASK = 10.0
EVERY_SIGNAL = (*SAVING, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)


@dataclass
class Fork:
    """A fork at work: who waits for it, and its pidfd."""

    pid: int
    link: socket.socket
    pidfd: int


@dataclass(frozen=True)
class Request:
    """What the fork is to go on as. streams: standard input, output and error; locks: to be kept open."""

    argv: list[str]
    environment: dict[str, str]
    folder: str
    umask: int
    is_listening: bool
    streams: list[int] = field(default_factory=list)
    locks: list[int] = field(default_factory=list)


class Parent:
    """Forks on request until the driver ends."""

    def __init__(self, listener: socket.socket, driver: int) -> None:
        self.listener, self.driver = listener, driver
        self.forks: dict[int, Fork] = {}
        self.code = code_times()
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        self.selector.register(driver, selectors.EVENT_READ, self.stop)
        self.is_open = True

    def serve(self) -> Request | None:
        """In this process None at the end; in a fork what it is to do."""
        while self.is_open or self.forks:
            for chosen, _ in self.selector.select():
                request = chosen.data(chosen.fileobj)
                if request is not None:
                    return request
        return None

    def stop(self, _: Any = None) -> None:
        """Take no more requests."""
        if self.is_open:
            self.is_open = False
            self.selector.unregister(self.listener)
            with contextlib.suppress(KeyError):
                self.selector.unregister(self.driver)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.listener.getsockname())
            self.listener.close()

    def accept(self, listener: socket.socket) -> Request | None:
        """Fork for who asks; one that asks badly is hung up on, and then works for itself."""
        link, _ = listener.accept()
        link.settimeout(SECONDS_TO_ASK)
        descriptors: list[int] = []
        try:
            request = _read(link, descriptors)
            if code_times() != self.code:
                self.stop()
                raise OSError("the code has changed since it was imported")
            return self.fork(link, request)
        except (OSError, ValueError, TypeError) as error:
            print(f"parent: no fork: {error}", flush=True)
            link.close()
            return None
        finally:
            for descriptor in descriptors if os.getpid() == OWN else []:
                os.close(descriptor)

    def fork(self, link: socket.socket, request: Request) -> Request | None:
        """Fork; the request in the fork, None here."""
        pid = os.fork()
        if pid == 0:
            self.selector.close()
            self.listener.close()
            for other in self.forks.values():
                other.link.close()
                os.close(other.pidfd)
            link.close()
            return request
        fork = Fork(pid, link, os.pidfd_open(pid))
        self.forks[pid] = fork
        self.selector.register(fork.pidfd, selectors.EVENT_READ, lambda _: self.report(fork))
        self.selector.register(link, selectors.EVENT_READ, lambda _: self.abandon(fork))
        link.settimeout(None)
        with contextlib.suppress(OSError):
            socket.send_fds(link, [b"+"], [fork.pidfd])
        return None

    def report(self, fork: Fork) -> None:
        """A fork has ended: say how to who waits for it."""
        _, status = os.waitpid(fork.pid, 0)
        with contextlib.suppress(OSError):
            fork.link.sendall(status.to_bytes(4, "big"))
        self.selector.unregister(fork.pidfd)
        with contextlib.suppress(KeyError):
            self.selector.unregister(fork.link)
        fork.link.close()
        os.close(fork.pidfd)
        del self.forks[fork.pid]

    def abandon(self, fork: Fork) -> None:
        """Who waited has been killed: kill the fork, as the process that it stands for would have been."""
        if fork.pid not in self.forks:
            return
        self.selector.unregister(fork.link)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fork.pidfd, signal.SIGKILL)


OWN = os.getpid()
HOME = str(Path(__file__).parents[1])


def code_times() -> dict[str, int]:
    """When each file of the library that is loaded was changed; a fork must not run code that is no longer there."""
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    return {file: os.stat(file).st_mtime_ns for file in files if file.startswith(HOME)}


def _read(link: socket.socket, descriptors: list[int]) -> Request:
    """Read a request. descriptors: takes those that came with it. ValueError where it is not whole."""
    head, found, _, _ = socket.recv_fds(link, 4, 64)
    descriptors.extend(found)
    body = receive(link, int.from_bytes(head, "big")) if len(head) == 4 else None
    if body is None or len(body) > MOST_BYTES:
        raise ValueError("a request was cut short")
    fields = json.loads(body)
    if len(descriptors) != 3 + len(fields.pop("locks")):
        raise ValueError("a request came without its streams")
    return Request(**fields, streams=descriptors[:3], locks=descriptors[3:])


def become(request: Request, parent: int) -> None:
    """Make this fork the process that was asked for, but for what it has imported."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.chdir(request.folder)
    os.umask(request.umask)
    for wanted, given in enumerate(request.streams):
        os.dup2(given, wanted)
        os.close(given)
    for descriptor in request.locks:
        os.set_inheritable(descriptor, True)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = request.argv
    sys.path[0] = os.path.dirname(request.argv[0])
    for number in EVERY_SIGNAL:
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python begins
    if not request.is_listening:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SAVING)


def main() -> None:
    """Listen, import, serve; a fork goes on as its script."""
    path, driver, modules = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    for number in (*SAVING, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    watched = os.pidfd_open(driver)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    gc.set_threshold(100_000, 20, 100)
    failed = Path(path).with_suffix(FAILED)
    failed.touch()
    for name in modules:
        importlib.import_module(name)
    failed.unlink()
    gc.collect()
    gc.freeze()  # what is shared with the forks is not looked at again
    # From here on the signals are held back: a fork that has not yet set its handlers must not miss one.
    signal.pthread_sigmask(signal.SIG_BLOCK, SAVING)
    own = os.getpid()
    request = Parent(listener, watched).serve()
    if request is None:
        with contextlib.suppress(OSError):
            if all(file.suffix for file in Path(path).parent.iterdir()):  # no other interpreter listens here
                shutil.rmtree(Path(path).parent)
        return
    become(request, own)
    runpy.run_path(request.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
