from __future__ import annotations

import gc
import importlib.util
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

# Programs that tests start find what another one has compiled: a second of a processor for each that imports much.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Before torch is imported, and inherited by the programs that tests start: the nets here are too small to gain from
# more threads, and the cores are better used by another test (pytest -n auto).
THREADS = 1
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("MPLBACKEND", "Agg")

gc.disable()  # until all is imported and collected: nearly everything made until then stays

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

if TYPE_CHECKING:
    from fsgl.recipes.experiment import Experiment

torch.set_num_threads(THREADS)

# A shared machine is slow at times, which says nothing about the code. CI draws the same examples every time.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


# --- SIGTERM ends the suite, also in a test of something that takes the signal as a request -----------------------

_arrived, _told = socket.socketpair()


def pytest_unconfigure() -> None:
    _arrived.close()
    if sys.platform != "win32":
        signal.set_wakeup_fd(-1)
    _told.close()


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # pytest-xdist begins with the files that have most tests: those are quick
    if sys.platform == "win32":
        return
    for end in (_arrived, _told):
        end.setblocking(False)
    signal.set_wakeup_fd(_told.fileno(), warn_on_full_buffer=False)  # whoever handles a signal, its number lands here
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("SIGTERM", returncode=128 + number))


def pytest_collection_finish() -> None:
    gc.freeze()  # modules and tests are not looked through again and again
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: at the end no core waits long for another one's file."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test that sends itself SIGTERM passes; one that it was sent to from outside fails, and is the last."""
    report = yield
    with suppress(BlockingIOError):
        signalled = signal.SIGTERM in _arrived.recv(65536)
        if signalled and call.excinfo is not None:
            item.session.shouldstop = "SIGTERM"
    return report


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """What a power cut would leave is not looked at; thousands of writes would wait for it. Programs do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def curves_composed() -> Iterator[None]:
    """See tests/unpainted.py. Of the programs that are forked, tests/forked.py."""
    from tests.unpainted import compose_curves

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fsgl.report.summary.draw_curves", compose_curves)
        yield


@pytest.fixture
def curves_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a training as users have it."""
    from fsgl.report.curves import draw_curves

    monkeypatch.setattr("fsgl.report.summary.draw_curves", draw_curves)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A test may change their number; runs before and after it are compared bit for bit."""
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def cifar_root() -> Path:
    """Folder with genuine ``cifar-10-batches-py/`` and ``cifar-100-python/``, read-only by agreement."""
    named = os.environ.get("FSGL_CIFAR")
    if not named:
        pytest.skip("FSGL_CIFAR names no folder with CIFAR-10 and CIFAR-100 in torchvision's layout")
    root = Path(named)
    missing = [name for name in ("cifar-10-batches-py", "cifar-100-python") if not (root / name).is_dir()]
    # Named but not there is a mistake, and skipping would hide it.
    assert not missing, f"FSGL_CIFAR={root} lacks {', '.join(missing)}"
    return root


# Images in each file, in the order in which they are read; the last one is the test set.
CIFAR_FILES = {
    "cifar10": {**{f"data_batch_{i}": 10 for i in range(1, 6)}, "test_batch": 10},
    "cifar100": {"train": 200, "test": 100},
}


class MakeCifar(Protocol):
    """``make_cifar(root, "cifar10")`` writes random pixels in torchvision's layout and returns their folder.

    times: so many times the training images of CIFAR_FILES.
    """

    def __call__(self, root: Path, name: str, times: int = 1) -> Path: ...


def write_cifar(root: Path, name: str, times: int = 1) -> Path:
    classes, folder = {"cifar10": (10, "cifar-10-batches-py"), "cifar100": (100, "cifar-100-python")}[name]
    (root / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    for file, count in CIFAR_FILES[name].items():
        count *= 1 if file.startswith("test") else times
        rows = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [i % classes for i in range(count)]
        batch = {b"data": rows, b"labels" if name == "cifar10" else b"fine_labels": labels}
        (root / folder / file).write_bytes(pickle.dumps(batch, 2))
    meta, key = ("batches.meta", "label_names") if name == "cifar10" else ("meta", "fine_label_names")
    (root / folder / meta).write_bytes(pickle.dumps({key: [f"class {k}" for k in range(classes)]}, 2))
    return root / folder


@pytest.fixture(scope="session")
def make_cifar() -> MakeCifar:
    return write_cifar


@pytest.fixture(scope="session")
def main_py() -> ModuleType:
    """The published command line, ``main.py`` beside the package."""
    spec = importlib.util.spec_from_file_location("main_py", Path(__file__).resolve().parents[1] / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def refusal(main_py: ModuleType, capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """The one line on standard error with which ``main.py`` must refuse some arguments: ``refusal(["--lr", "x"])``."""

    def refuse(arguments: list[str]) -> str:
        capsys.readouterr()
        try:
            code = main_py.main(arguments)
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        assert code == 2
        assert said.err.count("\n") == 1
        assert said.err.startswith("main.py: ")
        return said.err

    return refuse


@pytest.fixture(scope="session")
def tiny() -> Experiment:
    """FSGL on a few hundred digits: 3 epochs of 5 steps in about a second, with a validation set."""
    from fsgl.recipes import make_experiment
    from fsgl.recipes.experiment import override

    changes = ("optim.epochs=3", "optim.batch_size=64", "data.imbalance_factor=50")
    return override(make_experiment("fsgl", "digits"), *changes)


@pytest.fixture(scope="session")
def finished(tiny: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of ``tiny``, read-only by agreement."""
    from fsgl.runs.train import Runtime, train

    folder = tmp_path_factory.mktemp("finished") / "run"
    train(tiny, folder, Runtime("cpu", trackers=()))
    return folder


@pytest.fixture(scope="session")
def cells_forked() -> Iterator[None]:
    """Comparisons that tests start in this process fork their cells from where other programs are forked, too.

    Of itself each ``fsgl compare`` imports everything once for its own cells: tests/comparison/test_warm_start.py.
    """
    import contextlib

    from tests import forked

    from fsgl.comparison import warm_start

    its_own = warm_start.local_launcher

    def launch(command: list[str], log: Path, environment: Mapping[str, str]) -> tuple[Callable[[], Any], ...]:
        with log.open("ab") as file:
            process = forked.start(
                *command[3:], env={**os.environ, **environment}, stdin=forked.DEVNULL, stdout=file.fileno(),
                stderr=file.fileno(), start_new_session=True,
            )  # fmt: skip
        return process.poll, process.terminate

    @contextlib.contextmanager
    def launcher(devices: list[str]) -> Iterator[Callable[..., Any]]:
        with its_own(devices) as imports_anew:

            def start(command: list[str], log: Path, environment: Mapping[str, str]) -> Any:
                # Threads are counted when libraries are loaded, and a GPU does not survive a fork.
                ours = os.environ["OMP_NUM_THREADS"]
                alike = environment.get("OMP_NUM_THREADS", ours) == ours
                forks = alike and all(device == "cpu" for device in devices)
                return (launch if forks else imports_anew)(command, log, environment)

            yield start

    with pytest.MonkeyPatch.context() as patch:
        for place in ("fsgl.comparison.warm_start", "fsgl.api.comparison"):
            patch.setattr(f"{place}.local_launcher", launcher)
        yield


@pytest.fixture
def trials_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the processes of ``fsgl auto``; tests/test_auto.py starts them as it does of itself, too."""
    from types import SimpleNamespace

    from tests import forked

    def start(command: list[str], stderr: Any, env: Mapping[str, str], **rest: Any) -> forked.Program:
        assert command[:2] == [sys.executable, "-m"]
        return forked.start(
            module=command[2], env=env, stdin=forked.PIPE, stderr=stderr.fileno(), start_new_session=True, binary=True
        )

    standing_in = SimpleNamespace(Popen=start, PIPE=forked.PIPE)
    monkeypatch.setattr("fsgl.automatic.workers.subprocess", standing_in)


class Browser:
    """A headless Chromium, spoken to over the DevTools protocol."""

    def __init__(self, program: str, folder: Path, url: str) -> None:
        import httpx
        from websockets.sync.client import connect

        options = ["--headless=new", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        self.process = subprocess.Popen([program, *options, url], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        file = folder / "DevToolsActivePort"
        self.wait(lambda: file.exists() and file.read_text().count("\n") >= 1)
        port = file.read_text().split()[0]

        def targets() -> list[Any]:
            return [page for page in httpx.get(f"http://127.0.0.1:{port}/json").json() if page["url"].startswith(url)]

        self.wait(lambda: bool(targets()))
        target = targets()[0]
        self.closing = ExitStack()
        self.socket = self.closing.enter_context(connect(target["webSocketDebuggerUrl"], max_size=2**26))
        self.count, self.url = 0, url

    def call(self, method: str, **parameters: Any) -> Any:
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv(timeout=300))).get("id") != self.count:
            pass
        return answer["result"]

    def evaluate(self, program: str) -> Any:
        return self.call("Runtime.evaluate", expression=program, returnByValue=True)["result"].get("value")

    def close(self) -> None:
        self.closing.close()
        self.process.terminate()
        self.process.wait(timeout=300)

    def wait(self, condition: Callable[[], bool], seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)

    def wait_for_page(self, url: str) -> None:
        """Until this page is loaded; the empty page that stood there before is "complete", too."""
        shown = "document.readyState === 'complete' && location.href"
        self.wait(lambda: str(self.evaluate(shown)).startswith(url))

    def __enter__(self) -> Browser:
        self.wait_for_page(self.url)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


# What is wider than its place, but for what scrolls by itself.
BEYOND = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.wide, .scroll, figure div')
    && e.scrollWidth > e.clientWidth && e.clientWidth).map(e => e.outerHTML.slice(0, 120))"""


@pytest.fixture
def fits(open_page: Callable[[str], Browser]) -> Callable[[Path], None]:
    """Fails where a page is wider than the window, of a phone or a screen."""

    def look(page: Path) -> None:
        with open_page(page.resolve().as_uri()) as browser:
            for width in (360, 390, 800, 1400):
                browser.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1,
                             mobile=width < 500)  # fmt: skip
                assert browser.evaluate("document.documentElement.scrollWidth") <= width, browser.evaluate(BEYOND)
                assert browser.evaluate(BEYOND) == []

    return look


@pytest.fixture
def open_page(tmp_path: Path) -> Callable[[str], Browser]:
    """Opens a URL in headless Chromium, as a context."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here")
    return lambda url: Browser(program, tmp_path / "profile", url)
