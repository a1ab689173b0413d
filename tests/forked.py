"""Programs that start at once: forked from a process that has imported torch and fsgl already.

The two imports take seconds of processor time, and some fifty tests start a command only to kill it, to signal it or
to read what it prints. ``start`` is ``subprocess.Popen`` for them, ``run`` is ``subprocess.run``. What they start is a
process like any other, with its own memory, streams, signals and end of the interpreter; only its imports are done, and
its curves are not painted (tests/unpainted.py). A test of what is imported, or of how an interpreter is set up, starts
its own with ``subprocess``.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL
LONGEST = 2**20  # bytes of a request
BEFOREHAND = (
    "fsgl.commands.cli",
    "fsgl.runs.train",
    "fsgl.engine.launch",
    "torch.distributed.launcher.api",
    "fsgl.runs.duration",
    "fsgl.runs.saved",
    "fsgl.recipes.on_data",
    "fsgl.data.readers.arrays",
    "fsgl.report.summary",
    "fsgl.automatic.heads",
    "torch._dynamo",
    "torch.utils.flop_counter",
    "scipy.optimize",
    "sklearn.datasets",
    "safetensors.torch",
    "timm",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "tensorboard.compat.proto.event_pb2",
    "tensorboard.summary.writer.record_writer",
)


class Forked:
    """What tests use of ``subprocess.Popen(text=True)``, for a process whose parent is another one."""

    def __init__(self, status: int, streams: Sequence[IO[Any] | None]) -> None:
        self.stdin, self.stdout, self.stderr = streams
        self._status = open(status)  # noqa: SIM115
        self.pid = int(self._status.readline())
        self.returncode: int | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        line = self._status.readline()
        self._status.close()
        self.returncode = int(line or -signal.SIGKILL)
        self._ended.set()

    def poll(self) -> int | None:
        return self.returncode if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("forked", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """The rest of its standard output and error, after its end."""
        said = ["", ""]

        def read(index: int, stream: IO[str]) -> None:
            said[index] = stream.read()

        readers = [
            threading.Thread(target=read, args=(index, stream), daemon=True)
            for index, stream in enumerate((self.stdout, self.stderr)) if stream is not None
        ]  # fmt: skip
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            self.stdin.write(input or "")
            self.stdin.close()
        end = None if timeout is None else time.monotonic() + timeout
        self.wait(timeout)
        for reader in readers:
            reader.join(None if end is None else max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired("forked", timeout or 0)
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and its parent has not said so yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


Program = Forked | subprocess.Popen[str]


def start(
    *arguments: str | Path, code: str = "", module: str = "fsgl", env: Mapping[str, str] | None = None,
    cwd: Path | None = None, stdin: int | None = None, stdout: int | None = PIPE, stderr: int | None = PIPE,
    start_new_session: bool = False, binary: bool = False, copies: int = 0,
) -> Program:  # fmt: skip
    """``python -m fsgl arguments``; with ``code``, ``python -c code arguments``.  env: in place of the present one.

    copies: so many of the programs that torch's elastic launcher starts in it are forked, too.

    stdin, stdout, stderr: a file descriptor, PIPE, DEVNULL, or None for the present one.  binary: pipes without text
    and buffers.
    """
    words = [str(argument) for argument in arguments]
    env = dict(os.environ if env is None else env)
    if sys.platform != "linux":  # macOS does not let frameworks be used after a fork
        env["PYTHONPATH"] = os.pathsep.join(sys.path)
        return subprocess.Popen(
            [sys.executable, *(["-c", code] if code else ["-m", module]), *words], env=env, cwd=cwd, text=not binary,
            stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=start_new_session,
            bufsize=0 if binary else -1,
        )  # fmt: skip
    theirs, ours, passing = [], [], []
    for index, wanted in enumerate((stdin, stdout, stderr)):
        ours.append(None)
        if wanted == PIPE:
            reading, writing = os.pipe()
            own, other = (writing, reading) if index == 0 else (reading, writing)
            way = ("w" if index == 0 else "r") + "b" * binary
            ours[-1] = open(own, way, buffering=0 if binary else -1)  # noqa: SIM115
            passing.append(other)
        elif wanted == DEVNULL:
            passing.append(other := os.open(os.devnull, os.O_RDWR))
        else:
            other = index if wanted is None else wanted
        theirs.append(other)
    status, telling = os.pipe()
    passing.append(telling)
    request = {
        "code": code, "module": module, "words": words, "env": env, "cwd": str(cwd or Path.cwd()),
        "session": start_new_session, "path": sys.path, "copies": copies,
    }  # fmt: skip
    server = _server()
    content = json.dumps(request).encode(errors="surrogateescape")
    assert len(content) < LONGEST
    socket.send_fds(server, [len(content).to_bytes(4, "big")], [*theirs, telling])
    server.sendall(content)
    for descriptor in passing:
        os.close(descriptor)
    return Forked(status, ours)


def run(
    *arguments: str | Path, timeout: float = 400, input: str | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """``start`` and wait for the end."""
    if input is not None:
        options["stdin"] = PIPE
    with start(*arguments, **options) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
        assert process.returncode is not None
        return subprocess.CompletedProcess(list(arguments), process.returncode, out, err)


@functools.cache
def _server() -> socket.socket:
    """To the process that forks; it ends with this one, at whose end the socket is closed."""
    ours, theirs = socket.socketpair()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# --- The process that forks ----------------------------------------------------------------------------------------


def _serve(control: socket.socket) -> dict[str, Any]:
    """Answers requests with a fork each. Returns the request in such a child; ends with the asking process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the tests, and for the programs
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        size, descriptors, _, _ = socket.recv_fds(control, 4, 4)
        if not size:
            os._exit(0)
        content, length = b"", int.from_bytes(size, "big")
        while len(content) < length:
            content += control.recv(length - len(content))
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    control.close()
    *streams, telling = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child:  # waits for the program, and tells
        for stream in (*streams, 0, 1, 2):
            os.close(stream)
        os.write(telling, f"{child}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(telling, f"{status}\n".encode())
        os._exit(0)
    os.close(telling)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return json.loads(content)  # type: ignore[no-any-return]


class _Copy:
    """``subprocess.Popen`` of torch's elastic launcher, for programs that wait as forks to be told what to become."""

    waiting: ClassVar[list[tuple[int, int]]] = []  # a process, and the pipe through which it is told

    def __init__(self, args: Sequence[str], env: dict[str, str], stdout: Any, stderr: Any, **session: bool) -> None:
        options, module, *words = args[1 : args.index("-m")], *args[args.index("-m") + 1 :]
        assert (set(options) <= {"-u"}, stdout, stderr) == (True, None, None)
        env = {**env, "PYTHONUNBUFFERED": "1"} if options else env
        self.pid, telling = self.waiting.pop()
        self.returncode: int | None = None
        request = {"module": module, "code": "", "words": words, "env": env, "cwd": str(Path.cwd()), "path": sys.path,
                   "session": session["start_new_session"], "copies": 0}  # fmt: skip
        with open(telling, "wb") as pipe:
            pipe.write(json.dumps(request).encode(errors="surrogateescape"))

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float) -> int:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("forked", timeout)
            time.sleep(0.02)
        assert self.returncode is not None
        return self.returncode


def _wait_as_copy(copies: int) -> dict[str, Any] | None:
    """Fork so many; returns in each what it is to become, and None in the present process, whose children they are."""
    for _ in range(copies):
        hearing, telling = os.pipe()
        copy = os.fork()
        if copy == 0:
            for other in (telling, *(pipe for _, pipe in _Copy.waiting)):
                os.close(other)
            _Copy.waiting.clear()
            with open(hearing, "rb") as pipe:
                content = pipe.read()
            if not content:  # not needed
                os._exit(0)
            return json.loads(content)  # type: ignore[no-any-return]
        os.close(hearing)
        _Copy.waiting.append((copy, telling))
    if copies:
        from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

        subprocess_handler.Popen = _Copy
    return None


def _become(request: dict[str, Any]) -> tuple[types.ModuleType, Any]:
    """Everything as in a process newly started for it. Returns its main module and the program."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:] = request["path"]
    buffered = not os.environ.get("PYTHONUNBUFFERED")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        raw = open(number, "rb" if number == 0 else "wb", buffering=-1 if number == 0 or buffered else 0, closefd=False)  # noqa: SIM115
        lines = number == 2 or (number == 1 and os.isatty(1))
        stream = io.TextIOWrapper(
            raw, encoding="utf-8", errors="backslashreplace" if number == 2 else None, line_buffering=lines,
            write_through=number > 0 and not buffered,
        )  # fmt: skip
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    if request["code"]:
        sys.argv = ["-c", *request["words"]]
        return main, compile(request["code"], "<string>", "exec")
    import runpy

    # What ``python -m`` does; its own way keeps a copy of the running main module, which would be this file.
    _, spec, program = runpy._get_module_details(request["module"])  # type: ignore[attr-defined]
    main.__dict__.update(__spec__=spec, __file__=spec.origin, __package__=spec.parent, __loader__=spec.loader)
    sys.argv = [spec.origin, *request["words"]]
    return main, program


if __name__ == "__main__":
    asking = socket.socket(fileno=int(sys.argv[1]))
    sys.path[:] = [place for place in sys.path if place != str(Path(__file__).parent)]
    import importlib

    gc.disable()  # nearly everything that is imported stays
    for name in BEFOREHAND:
        importlib.import_module(name)
    from tests.unpainted import compose_curves

    sys.modules["fsgl.report.summary"].draw_curves = compose_curves  # type: ignore[attr-defined]
    gc.freeze()  # what is shared is not copied by each program's own collections: a second of a processor for each
    gc.enable()
    wanted = _serve(asking)
    asking = None  # type: ignore[assignment]
    module, program = _become(_wait_as_copy(wanted["copies"]) or wanted)
    exec(program, vars(module))
