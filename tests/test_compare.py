"""``fsgl compare`` and ``fsgl report`` as typed."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests import forked

from fsgl.commands.cli import main

QUICK = ["--data", "digits", "--backbone", "resnet8-slim", "--epochs", "2", "--seeds", "2", "--workers", "0"]


def compare(*arguments: str) -> int:
    return main(["compare", *arguments, *QUICK])


pytestmark = pytest.mark.usefixtures("cells_forked")


@pytest.fixture(scope="module")
def grid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes and an adjustment by two seeds."""
    request.getfixturevalue("cells_forked")
    runs = tmp_path_factory.mktemp("grid") / "runs"
    words = ["cross-entropy", "balanced-softmax", "cross-entropy+logit-adjustment"]
    assert compare(*words, "--runs", str(runs), "--record", str(runs / "records")) == 0
    return runs


class Page(HTMLParser):
    """What a page loads and what its pictures say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.said: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.loads += [value for name in ("src", "href", "xlink:href") if (value := values.get(name))]
        if tag in ("svg", "img"):
            self.said.append(values.get("aria-label") or values.get("alt") or "")
        assert tag != "script"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check(path: Path, pictures: int) -> Page:
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert all(url.startswith(("data:", "#")) for url in page.loads), page.loads
    assert all(f'id="{url[1:]}"' in text for url in page.loads if url.startswith("#"))
    assert len(page.said) >= pictures
    assert all(len(said) > 5 for said in page.said)
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers)), "an id stands twice"
    return page


def test_grid_is_told_in_tables_a_page_and_records(grid: Path) -> None:
    content = json.loads((grid / "comparison.json").read_text())
    assert {cell["status"] for cell in content["cells"].values()} == {"complete"}
    assert len(content["comparisons"]) == 2
    assert all(each["against"] == "cross-entropy" and each["seeds"] == 2 for each in content["comparisons"])
    runs = {}
    for seed in (0, 1):
        for word in ("cross-entropy", "balanced-softmax"):
            record = json.loads((grid / f"{word}-seed{seed}" / "experiment.json").read_text())
            runs[word, seed] = record["result"]["last"]["balanced"]
    difference = np.mean([runs["balanced-softmax", seed] - runs["cross-entropy", seed] for seed in (0, 1)])
    found = next(each for each in content["comparisons"] if each["method"] == "balanced-softmax")
    assert found["difference"] == pytest.approx(difference)
    page = check(grid / "comparison.html", pictures=2)
    assert any("balanced-softmax" in text for text in page.text)
    assert {path.name for path in (grid / "tables").iterdir()} == {
        f"{name}.{suffix}" for name in ("accuracy", "differences", "reliability", "priors")
        for suffix in ("md", "csv", "tex")
    }  # fmt: skip
    assert {path.name for path in (grid / "figures").iterdir()} == {
        f"{name}.{suffix}" for name in ("forest", "cost", "classes") for suffix in ("png", "svg")
    }
    assert len(list((grid / "records").glob("*.json"))) == 6
    assert json.loads((grid / "looks.json").read_text())["seeds"]["balanced-softmax"] == [2]


def test_rows_at_equal_cost_stand_apart_and_a_plan_holds(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SAM's two passes for one epoch are what the reference's single ones are for two."""
    import shutil

    runs = tmp_path / "runs"
    runs.mkdir()
    for seed in (0, 1):
        shutil.copytree(grid / f"cross-entropy-seed{seed}", runs / f"cross-entropy-seed{seed}")
    command = ["cross-entropy", "cross-entropy+sam", "--equal-cost", "--planned-seeds", "4", "--deviation", "2"]
    assert compare(*command, "--runs", str(runs)) == 0
    said = capsys.readouterr().out
    assert "power       2 seeds find, in 80% of cases, a difference of" in said
    assert (runs / "cross-entropy+sam+cost-seed1").is_dir()
    assert not (runs / "cross-entropy+cost-seed1").exists()
    apart = (runs / "tables" / "accuracy-at-equal-cost.csv").read_text().splitlines()
    place = apart[0].split(",").index("epochs")
    assert sorted((row.split(",")[0], row.split(",")[place]) for row in apart[1:]) == [
        ("cross-entropy", "2"), ("cross-entropy+sam", "1"),
    ]  # fmt: skip
    assert "4 seeds were planned before the first look" in " ".join(check(runs / "comparison.html", 3).text)
    assert main(["compare", *command[:2], *QUICK, "--planned-seeds", "9", "--runs", str(runs)]) == 2
    assert "4 seeds were planned at the first look" in capsys.readouterr().err


def test_comparisons_on_several_data_sets_are_told_together(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [grid]
    for number, factor in enumerate((50.0, 100.0)):
        content = json.loads((grid / "comparison.json").read_text())
        for run in content["runs"]:
            run["settings"]["data"]["imbalance_factor"] = factor
            run["data"]["split_hash"] = f"{factor:g}"
            run["epochs"][-1]["test"]["balanced"] += number * run["settings"]["seed"]
        folders.append(tmp_path / f"{factor:g}")
        folders[-1].mkdir()
        (folders[-1] / "comparison.json").write_text(json.dumps(content))
    out = tmp_path / "across"
    assert main(["across", *map(str, folders), "--out", str(out)]) == 0
    page = check(out / "comparison.html", pictures=1)
    assert any("critical difference" in said for said in page.said)
    content = json.loads((out / "comparison.json").read_text())
    assert content["methods"][0] == "cross-entropy"
    assert len(content["data_sets"]) == 3
    assert (out / "figures" / "ranks.png").exists()
    capsys.readouterr()
    assert main(["across", str(grid), "--out", str(out)]) == 2
    assert "says nothing of others" in capsys.readouterr().err
    assert main(["across", str(tmp_path), "--out", str(out)]) == 2
    assert "neither a comparison" in capsys.readouterr().err


def test_grid_killed_and_resumed_gives_the_same_table(grid: Path, tmp_path: Path) -> None:
    words = ["cross-entropy", "balanced-softmax", "cross-entropy+logit-adjustment"]
    command = ["compare", *words, *QUICK, "--runs", str(tmp_path / "runs")]
    process = forked.start(*command)
    begun = tmp_path / "runs" / "cross-entropy-seed0" / "experiment.json"
    deadline = time.monotonic() + 400
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 143, said
    assert "the same command goes on from there" in said
    assert not (tmp_path / "runs" / "comparison.json").exists()
    assert main(command) == 0
    for name in ("differences", "reliability", "priors"):
        assert (tmp_path / "runs" / "tables" / f"{name}.md").read_text() == (grid / "tables" / f"{name}.md").read_text()


def test_one_failing_cell_is_marked_and_the_rest_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "mixup-seed1").write_text("a file where a run folder should be")
    assert compare("cross-entropy", "mixup", "--runs", str(runs)) == 1
    out, err = capsys.readouterr()
    assert "mixup-seed1: failed: fsgl: " in out
    assert re.search(r"^mixup +\d+\.\d +published +1 \(1 failed\)", out, re.MULTILINE)
    assert "fsgl: mixup-seed1 failed:" in err
    assert "Traceback" not in out + err
    (runs / "mixup-seed1").unlink()
    assert compare("cross-entropy", "mixup", "--runs", str(runs)) == 0  # mended, only that one is trained
    assert "4 runs in" in (said := capsys.readouterr().out)
    assert "3 of them complete already" in said
    assert "1 of 1  mixup-seed1" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cross-entropi"], "unknown recipe 'cross-entropi'"),
        (["cross-entropy", "--against", "mixup"], "--against mixup: it is none of cross-entropy"),
        (["cross-entropy", "--seeds", "0"], "--seeds must be from 1 to 1024, not 0"),
        (["cross-entropy", "sam.rhoo=1"], "unknown setting 'sam.rhoo'"),
        (["cross-entropy", "--jobs", "0"], "--jobs must be from 1 to 1024, not 0"),
        (["cross-entropy", "--data", "nowhere"], "unknown data set 'nowhere'"),
        (["epochs=1"], "name the recipes to compare"),
    ],
)
def test_mistakes(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    data = [] if "--data" in arguments else ["--data", "digits"]
    assert main(["compare", *arguments, *data]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_another_grid_in_the_same_folder_is_refused(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (grid / "comparison.json").read_bytes()
    assert main(["compare", "cross-entropy", "--data", "digits", "--epochs", "3", "--runs", str(grid)]) == 2
    assert "holds a run of other settings" in capsys.readouterr().err
    assert (grid / "comparison.json").read_bytes() == before


@pytest.mark.slow
def test_grid_on_a_local_ray_cluster(grid: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    words = ["cross-entropy", "balanced-softmax", *QUICK, "--seeds", "1"]
    environment = {**os.environ, "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_worker_niceness": "0"}
    done = forked.run(
        "compare", *words, "--ray", "local", "--runs", tmp_path / "runs", env=environment, timeout=1100
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for runs in (grid, tmp_path / "runs"):
        content = json.loads((runs / "comparison.json").read_text())
        trained = [run for run in content["runs"] if run["settings"]["seed"] == 0 and run["adjustment"] is None]
        found[runs] = {run["settings"]["recipe"]: run["epochs"][-1]["test"] for run in trained}
    assert len(found[grid]) == 2
    assert found[tmp_path / "runs"] == found[grid]


def test_ray_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert compare("cross-entropy", "--ray", "local", "--runs", str(tmp_path / "runs")) == 2
    assert "pip install 'fsgl[ray]'" in capsys.readouterr().err


# --- fsgl report -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reported(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    assert main(["report", str(grid / "balanced-softmax-seed0"), "--out", str(folder), "--workers", "0"]) == 0
    return folder


def test_report_of_a_run(grid: Path, reported: Path, tmp_path: Path) -> None:
    page = check(reported / "report.html", pictures=7)
    text = " ".join(page.text)
    for heading in ("Accuracy by class", "Training", "Confusion", "Reliability", "Feature map", "Feature norms",
                    "The tail's worst mistakes", "balanced-softmax on digits, seed 0"):  # fmt: skip
        assert heading in text
    assert {path.stem for path in (reported / "figures").iterdir()} == {
        "classes", "curves", "confusion", "reliability", "risk", "features", "norms"
    }  # fmt: skip
    assert {path.name for path in (reported / "tables").iterdir()} == {
        f"{name}.{suffix}" for name in ("protocol", "classes", "sets") for suffix in ("md", "csv", "tex")
    }
    before = (reported / "report.html").read_bytes()
    assert main(["report", str(grid / "balanced-softmax-seed0"), "--out", str(tmp_path), "--workers", "0"]) == 0
    assert (tmp_path / "report.html").read_bytes() == before, "the same run, the same page"


def test_report_of_an_adjusted_run_and_without_images(grid: Path, tmp_path: Path) -> None:
    run = grid / "cross-entropy+logit-adjustment-seed1"
    assert main(["report", str(run), "--out", str(tmp_path), "--no-images"]) == 0
    text = " ".join(check(tmp_path / "report.html", pictures=4).text)
    assert "cross-entropy+logit-adjustment on digits, seed 1" in text
    assert "Feature map" not in text
    assert "--no-images" in text


def test_report_without_the_data_says_what_it_leaves_out(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    run = shutil.copytree(grid / "cross-entropy-seed0", tmp_path / "run")
    record = json.loads((run / "experiment.json").read_text())
    record["class_names"][3] = "<script>alert(1)</script>"
    record["data"]["split_hash"] = "0" * 64
    (run / "experiment.json").write_text(json.dumps(record))
    assert main(["report", str(run)]) == 0
    assert "left out    Features and pictures: " in capsys.readouterr().out
    page = check(run / "report.html", pictures=4)
    assert "Left out" in page.text
    assert any("<script>" in text for text in page.text)  # as text


@pytest.mark.parametrize("spoil", ["missing", "damaged"])
def test_report_of_no_run(spoil: str, grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    assert main(["report", str(tmp_path)]) == 2
    run = shutil.copytree(grid / "cross-entropy-seed0", tmp_path / "run")
    if spoil == "missing":
        (run / "predictions.npz").unlink()
    else:
        (run / "predictions.npz").write_bytes((run / "predictions.npz").read_bytes()[:-2000])
    capsys.readouterr()
    assert main(["report", str(run)]) == 2
    err = capsys.readouterr().err
    assert "predictions.npz: no predictions of a run" in err
    assert err.count("\n") == 1


# Of each row that says something in words, how many of its cells are higher on the page.
STANDS_ABOVE_THE_WORDS = """[...document.querySelectorAll('.told tr td.long')].map(words => {
    const top = cell => cell.getBoundingClientRect().top;
    return [...words.parentElement.children].filter(cell => top(cell) < top(words)).length;
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_a_tablet_and_a_screen(scheme: str, grid: Path, reported: Path, open_page) -> None:
    """Nothing but what scrolls by itself is wider than the window; ink and paper differ in both schemes."""
    luminance = """(() => {
        const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number); return 0.3 * r + 0.6 * g + 0.1 * b; };
        const style = getComputedStyle(document.body), text = document.querySelector('svg text');
        return [light(style.backgroundColor), light(style.color), light(getComputedStyle(text).fill)];
    })()"""
    with open_page((reported / "report.html").as_uri()) as browser:
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for page in (reported / "report.html", grid / "comparison.html"):
            browser.call("Page.navigate", url=page.as_uri())
            browser.wait_for_page(page.as_uri())
            for width in (360, 800, 1400):
                browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                             mobile=width < 500)  # fmt: skip
                assert browser.evaluate("document.documentElement.scrollWidth") <= width
                if width == 360 and page.stem == "comparison":  # only the row's name stands above the words
                    above = browser.evaluate(STANDS_ABOVE_THE_WORDS)
                    assert above
                    assert set(above) == {1}
                if folder := os.environ.get("FSGL_SCREENSHOTS"):
                    shot = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
                    (Path(folder) / f"{page.stem}-{scheme}-{width}.png").write_bytes(base64.b64decode(shot))
            paper, ink, drawn = browser.evaluate(luminance)
            assert (paper > 200) == (scheme == "light")
            assert abs(paper - ink) > 150
            assert abs(paper - drawn) > 150
            assert browser.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            browser.call("Emulation.setEmulatedMedia", media="print", features=[])
            browser.call("Emulation.setDeviceMetricsOverride", width=720, height=1000, deviceScaleFactor=1,
                         mobile=False)  # fmt: skip
            wider = "e => e.scrollWidth > e.clientWidth"
            cut = f"[...document.querySelectorAll('.wide, figure div')].filter({wider}).length"
            assert browser.evaluate(cut) == 0, "paper does not scroll"
            browser.call("Emulation.setEmulatedMedia", media="",
                         features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
