"""The local page: its endpoints, and the page itself in Chromium where there is one."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests import forked

from fsgl.commands.cli import main
from fsgl.data.load import DataSpec, load_data
from fsgl.deploy.serve import app as serving
from fsgl.deploy.serve.neighbours import MOST, _balanced, build_index
from fsgl.runs.saved import load_model


def wait_for(condition: Any, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def png(image: Image.Image) -> bytes:
    image.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "digits & <b>run"
    options = ["--epochs", "3", "--backbone", "resnet8-slim", "--track", "none"]
    assert main(["train", "fsgl", "--data", "digits", "--run", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def client(run: Path) -> TestClient:
    trained = load_model(run)
    index = build_index(trained, load_data(DataSpec("digits")).train)  # type: ignore[arg-type]
    return TestClient(serving.make_app(trained, run.name, index, ["127.0.0.1"]), base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def digit() -> bytes:
    return png(Image.fromarray(load_data(DataSpec("digits")).test.images[0][..., 0]))  # type: ignore[union-attr]


def ask(client: TestClient, content: bytes, kind: str = "image/png") -> Any:
    return client.post("/predict", content=content, headers={"Content-Type": kind})


def test_an_image_is_answered_as_predict_answers(
    client: TestClient, digit: bytes, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(digit)
    capsys.readouterr()
    assert main(["predict", str(run), str(tmp_path / "a.png"), "--top-k", "5", "--format", "json"]) == 0
    expected = json.loads(capsys.readouterr().out)[0]["predictions"]
    answer = ask(client, digit).json()
    found = answer["predictions"]
    assert [each["class"] for each in found] == [each["class"] for each in expected]
    assert [each["probability"] for each in found] == pytest.approx([each["probability"] for each in expected])
    record = json.loads((run / "experiment.json").read_text())
    counts = dict(zip(record["class_names"], record["class_counts"], strict=True))
    for each in found:
        assert each["training_images"] == counts[each["class"]]
        count = each["training_images"]
        assert each["group"] == ("many" if count > 100 else "few" if count <= 20 else "medium")


def test_the_nearest_training_image_of_a_training_image_is_itself(client: TestClient) -> None:
    train = load_data(DataSpec("digits")).train
    for place in (0, 50):
        nearest = ask(client, png(Image.fromarray(train.images[place][..., 0]))).json()["nearest"]  # type: ignore[union-attr]
        assert nearest[0]["cosine"] == pytest.approx(1, abs=1e-4)
        assert [each["cosine"] for each in nearest] == sorted((each["cosine"] for each in nearest), reverse=True)
        header, content = nearest[0]["image"].split(",")
        assert header == "data:image/jpeg;base64"
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("L")).astype(int)
        assert np.abs(shown - train.images[place][..., 0]).mean() < 12  # type: ignore[union-attr]


def test_where_it_looked_is_shown_on_request_and_bounded_in_time(
    client: TestClient, digit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {"Content-Type": "image/png"}
    likeliest = ask(client, digit).json()["predictions"][0]["class"]
    found = client.post("/why", content=digit, headers=kind).json()
    assert found["class"] == likeliest
    shown = Image.open(io.BytesIO(base64.b64decode(found["looked"].split(",")[1])))
    assert shown.size == (serving.WHY_SIDE, serving.WHY_SIDE)
    red, green, _ = np.moveaxis(np.asarray(shown, dtype=int), -1, 0)
    assert (red - green).max() > 60  # somewhere, and not everywhere alike
    assert (red - green).min() < 20
    other = next(name for name in map(str, range(10)) if name != likeliest)
    assert client.post("/why", params={"class": other}, content=digit, headers=kind).json()["class"] == other
    for content, params, error in ((b"hello", {}, "not an image"), (digit, {"class": "cat"}, "no class 'cat'")):
        answer = client.post("/why", params=params, content=content, headers=kind)
        assert (answer.status_code, error in answer.json()["error"]) == (400, True)
    ended, begun, bound = threading.Event(), [], serving.WHY_SECONDS
    monkeypatch.setattr(serving, "WHY_SECONDS", 0.05)
    monkeypatch.setattr(serving, "attention", lambda *given: (begun.append(1), ended.wait(300))[0])
    for _ in range(3):
        answer = client.post("/why", content=digit, headers=kind)
        assert answer.status_code == 503
    wait_for(lambda: begun)
    assert len(begun) == 1  # whoever asks again does not make another thread work
    monkeypatch.undo()
    ended.set()
    assert bound == serving.WHY_SECONDS
    assert client.post("/why", content=digit, headers=kind).json()["class"] == likeliest  # its turn is over


def test_an_index_takes_the_tail_whole() -> None:
    labels = np.repeat([0, 1, 2], [2 * MOST, 40, 3])
    chosen = labels[_balanced(labels, 0)]
    assert len(chosen) == MOST
    assert np.bincount(chosen)[1:].tolist() == [40, 3]


@pytest.mark.parametrize(
    ("content", "kind", "status", "error"),
    [
        (b"", "image/png", 400, "empty"),
        (b"hello", "image/png", 400, "not an image"),
        (b"x" * (serving.MOST_BYTES + 1), "image/png", 413, "more than 20 MB"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "send the image itself"),
        (b"--x", "multipart/form-data; boundary=x", 415, "send the image itself"),
    ],
)
def test_what_is_no_image_is_one_line(client: TestClient, content: bytes, kind: str, status: int, error: str) -> None:
    answer = ask(client, content, kind)
    assert answer.status_code == status
    assert error in answer.json()["error"]


def test_only_the_served_host_is_answered(client: TestClient, digit: bytes) -> None:
    for path in ("/", "/health"):
        assert client.get(path).status_code == 200
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 400
    answer = client.get("/health", headers={"Origin": "http://evil.example"})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert client.get("/predict").status_code == 405


def test_the_page_fetches_nothing_and_escapes(client: TestClient) -> None:
    answer = client.get("/")
    assert "digits &amp; &lt;b&gt;run" in answer.text
    assert "<b>run" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "http://" not in answer.text
    assert "https://" not in answer.text


# ---------------------------------------------------------------- the real thing


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = sorted(path.name for path in run.iterdir())
    process = forked.start("serve", run, "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            httpx.get(f"{url}/health")
            break
        except httpx.HTTPError:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
    yield url
    process.send_signal(signal.SIGTERM)  # as containers are ended
    said, errors = process.communicate(timeout=300)
    assert url in said
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert sorted(path.name for path in run.iterdir()) == before


def test_the_command_serves_and_a_taken_port_is_one_line(
    address: str, run: Path, digit: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = httpx.post(f"{address}/predict", content=digit, headers={"Content-Type": "image/png"})
    assert len(answer.json()["predictions"]) == 5
    port = address.rpartition(":")[2]
    done = forked.run("serve", run, "--port", port, "--no-nearest")
    assert done.returncode == 2
    assert "cannot be listened on" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert main(["serve", str(run), "--port", "0"]) == 2
    assert "--port must be from 1" in capsys.readouterr().err


def test_an_image_is_dropped_on_the_page_and_answered(address: str, digit: bytes, open_page) -> None:
    with open_page(address) as browser:
        for content, name in ((digit, "one.png"), (b"hello", "text.png")):
            data = base64.b64encode(content).decode()
            browser.evaluate(f"""(() => {{
                const bytes = Uint8Array.from(atob("{data}"), c => c.charCodeAt(0)), transfer = new DataTransfer();
                transfer.items.add(new File([bytes], "{name}", {{type: "image/png"}}));
                document.body.dispatchEvent(new DragEvent("drop", {{dataTransfer: transfer, bubbles: true}}));
            }})()""")
        wait_for(lambda: browser.evaluate("document.querySelectorAll('article ol li').length") == 5)
        wait_for(lambda: browser.evaluate("document.querySelectorAll('.bad').length") == 1)
        expected = httpx.post(f"{address}/predict", content=digit, headers={"Content-Type": "image/png"}).json()
        said = browser.evaluate("document.querySelector('article ol').innerText")
        best = expected["predictions"][0]
        assert best["class"] in said
        assert f"{100 * best['probability']:.1f} %" in said
        assert f"{best['training_images']} training images, {best['group']}-shot" in said
        browser.evaluate("document.querySelector('.why').click()")
        wait_for(lambda: browser.evaluate("(document.querySelector('.looked') || {}).naturalWidth") == serving.WHY_SIDE)
        assert f"where it looked for {best['class']}" in browser.evaluate("document.querySelector('main').innerText")
        assert "not an image" in browser.evaluate("document.querySelector('.bad').innerText")
        assert browser.evaluate("document.querySelectorAll('figure img').length") == 6
        complete = "[...document.querySelectorAll('figure img')].every(i => i.complete && i.naturalWidth > 0)"
        wait_for(lambda: browser.evaluate(complete))
        browser.call("Emulation.setDeviceMetricsOverride", width=900, height=800, deviceScaleFactor=1, mobile=False)
        picture = base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"])
        assert Image.open(io.BytesIO(picture)).size == (900, 800)
        if folder := os.environ.get("FSGL_SCREENSHOTS"):
            (Path(folder) / "serve.png").write_bytes(picture)
