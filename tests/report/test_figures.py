"""Figures hold what they were given: the drawn data are read back from matplotlib, not the pixels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from fsgl.evaluation.metrics import shot_groups
from fsgl.evaluation.reliability import reliability_curve
from fsgl.report import figures
from fsgl.report.comparison_figures import cost_fronts
from fsgl.report.drawing import GROUP_COLOURS, INK, Draw, as_svg, draw, write_files

COUNTS = np.array([5, 500, 60, 7])
NAMES = ["rare", "common", "$x_1$ <b>", "few"]
ORDER = [1, 2, 3, 0]


def drawn(drawing: Draw):
    return draw(drawing)


def test_classes_stand_by_frequency_with_their_intervals() -> None:
    accuracy, bounds = np.array([10.0, 90.0, 50.0, np.nan]), np.array([[5.0, 20], [85, 95], [40, 60], [np.nan] * 2])
    figure = drawn(figures.class_accuracy(accuracy, bounds, COUNTS, shot_groups(COUNTS), NAMES))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "common (500)", "$x_1$ <b> (60)", "few (7, untested)", "rare (5)"
    ]  # fmt: skip
    points = {float(x): float(y) for line in axes.containers for x, y in zip(*line[0].get_data(), strict=True)}
    assert points == {0.0: 90.0, 1.0: 50.0, 3.0: 10.0}  # a class without test images has no point
    reach = {float(segment[0][0]): (segment[0][1], segment[1][1])
             for line in axes.containers for segment in line[2][0].get_segments()}  # fmt: skip
    assert reach == {0.0: (85, 95), 1.0: (40, 60), 3.0: (5, 20)}


def test_thousands_of_classes_are_drawn_in_bands() -> None:
    counts = np.arange(1, 3001)
    accuracy = counts / 30.0
    bounds = np.stack([accuracy, accuracy], axis=1)
    figure = drawn(figures.class_accuracy(accuracy, bounds, counts, shot_groups(counts), [str(k) for k in counts]))
    bands = [line for line in figure.axes[0].lines if line.get_linewidth() == 2]
    assert len(bands) == 20
    assert bands[0].get_ydata()[0] == pytest.approx(accuracy[-150:].mean())
    low, high = scipy.stats.t.interval(0.95, 149, accuracy[-150:].mean(), scipy.stats.sem(accuracy[-150:]))
    first = figure.axes[0].containers[0][2][0].get_segments()[0]
    assert first[:, 1] == pytest.approx([low, high])
    labels = np.repeat(np.arange(3000), 3)
    predicted = labels.copy()
    labels, predicted = np.append(labels, 2999), np.append(predicted, 0)  # the most frequent, once taken for the rarest
    figure = drawn(figures.confusion(predicted, labels, counts, [str(k) for k in counts]))
    shares = figure.axes[0].images[0].get_array()
    assert shares.shape == (20, 20)
    assert shares[0, 0] == pytest.approx(100 * 450 / 451)
    assert shares[0, 19] == pytest.approx(100 / 451)


def test_confusion_is_in_percent_of_the_true_class() -> None:
    matrix = np.array([[1, 3, 0, 0], [0, 8, 2, 0], [0, 0, 0, 0], [0, 0, 0, 5]])
    labels, predicted = np.nonzero(matrix)
    times = matrix[labels, predicted]
    figure = drawn(figures.confusion(np.repeat(predicted, times), np.repeat(labels, times), COUNTS, NAMES))
    shares = figure.axes[0].images[0].get_array()
    assert shares[0].tolist() == [80, 20, 0, 0]  # of class 1, taken for 1, 2, 3, 0
    assert shares[3].tolist() == [75, 0, 0, 25]
    assert shares[1].tolist() == [None] * 4  # no test image: blank, which is no share of 0


def test_norms_and_what_the_fsm_makes_of_them() -> None:
    norms, scales = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.1, 1.5, 1.3, 1.2])
    axes = drawn(figures.feature_norms(norms, scales, COUNTS, NAMES)).axes[0]
    assert axes.get_xticklabels()[0].get_text() == "common (500)"
    lines = axes.lines
    assert lines[0].get_ydata().tolist() == norms[ORDER].tolist()
    assert lines[1].get_ydata().tolist() == (norms * scales)[ORDER].tolist()
    assert len(drawn(figures.feature_norms(norms, None, COUNTS, NAMES)).axes[0].lines) == 1


def test_norms_of_thousands_of_classes_are_means_of_bands() -> None:
    counts = np.arange(1, 401)
    norms = counts / 10.0
    norms[-20:] = np.nan  # the first band: classes without test images
    line = next(line for line in drawn(figures.feature_norms(norms, None, counts, ["x"] * 400)).axes[0].lines
                if not str(line.get_label()).startswith("_"))  # fmt: skip
    assert len(line.get_xdata()) == 19
    assert line.get_ydata()[0] == pytest.approx(norms[-40:-20].mean())


def test_map_names_classes_that_begin_with_an_underscore() -> None:
    features = np.random.default_rng(0).normal(size=(40, 3))
    axes = drawn(figures.feature_map(features, np.arange(40) % 4, COUNTS, ["_a", "_b", "c", "d"])).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert {text.get_text().strip() for text in legend.get_texts()} >= {"_a (5)", "_b (500)"}


def test_map_is_of_principal_components() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(90, 5)) * [9, 3, 1, 1, 1]
    labels = np.arange(90) % 9
    counts = np.arange(9, 0, -1) * 10
    axes = drawn(figures.feature_map(features, labels, counts, [str(k) for k in range(9)])).axes[0]
    from sklearn.decomposition import PCA

    expected = np.abs(PCA(2).fit_transform(features))
    groups = {collection.get_label(): np.abs(collection.get_offsets()) for collection in axes.collections}
    assert set(groups) == {"other classes", "0 (90)", "1 (80)", "2 (70)", "6 (30)", "7 (20)", "8 (10)"}
    np.testing.assert_allclose(groups["8 (10)"], expected[labels == 8], rtol=1e-6, atol=1e-9)
    assert len(groups["other classes"]) == 30


def test_reliability_has_a_panel_a_group() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(200, 3)), random.integers(0, 3, 200)
    curves = {"all": reliability_curve(logits, labels), "few": reliability_curve(logits[:9], labels[:9])}
    figure = drawn(figures.reliability(curves))
    assert [axes.get_title() for axes in figure.axes] == ["all, 200 images", "few, 9 images"]


def test_risk_reaches_over_all_coverages() -> None:
    line = drawn(figures.risk_coverage(np.array([0.0, 0.0, 33.3, 25.0]))).axes[0].lines[0]
    assert line.get_xdata().tolist() == [25, 50, 75, 100]
    assert line.get_ydata().tolist() == [0.0, 0.0, 33.3, 25.0]


def test_numbers_on_logarithmic_axes_are_plain() -> None:
    points = [("a", 1.3, 40.0, True), ("b", 57.0, 41.0, True)]
    text = as_svg(draw(cost_fronts([("seconds", points), ("passes", [("a", 3e6, 40.0, True)])], "top-1")), "costs", "c")
    assert "mathdefault" not in text
    assert {"2", "5", "10", "20", "50"} <= set(re.findall(r">([^<>]+)</text>", text))


def test_methods_on_one_point_share_a_name() -> None:
    points = [("a", 1.3, 40.0, True), ("b", 1.3, 40.0, True), ("c", 2.0, 41.0, True), ("d", 2.0, 39.0, False)]
    axes = drawn(cost_fronts([("passes", points)], "top-1")).axes[0]
    assert [text.get_text() for text in axes.texts] == ["a, b", "c"]


def test_forest_sorts_and_colours_by_what_is_held_of_a_difference() -> None:
    rows = [
        ("a", 1.0, 0.5, 1.5, 1), ("b", -2.0, -3.0, -1.0, -1), ("c", 0.2, 0.1, 0.3, 0), ("d", 3.0, None, None, 0),
    ]  # fmt: skip
    axes = drawn(figures.forest(rows, "ce", "mean over classes")).axes[0]
    assert axes.get_xlabel().startswith("mean over classes: points from ce")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "a", "d"]
    colour = {float(line.get_xdata()[0]): line.get_color() for line in axes.lines if line.get_marker() == "o"}
    assert colour[1.0] == GROUP_COLOURS["many"]
    assert colour[-2.0] == GROUP_COLOURS["few"]
    assert colour[0.2] == colour[3.0] == figures.GREY


def test_methods_by_class_over_seeds() -> None:
    accuracy = {"ce": np.array([[10.0, 90, 50, 30], [20, 100, 60, 30]]), "fsgl": np.array([[40.0, 80, 50, 50]])}
    lines = drawn(figures.classes_compared(accuracy, COUNTS)).axes[0].lines
    assert lines[0].get_ydata().tolist() == [95, 55, 30, 15]
    assert lines[1].get_ydata().tolist() == [80, 50, 50, 40]
    many = np.arange(120.0)[None]
    many[0, 0] = np.nan  # in a band with one that has test images
    (line,) = drawn(figures.classes_compared({"ce": many}, np.arange(120, 0, -1))).axes[0].lines
    assert line.get_ydata()[:2].tolist() == [1, 2.5]


def test_curves_leave_out_a_term_that_is_the_total() -> None:
    def row(epoch: int, **terms: float) -> dict:
        return {"epoch": epoch, "loss": {"total": 1.0, **terms}, "test": {"balanced": 50.0}, "val": None}

    single = drawn(figures.training_curves([row(0, focal=1.0), row(1, focal=1.0)]))
    assert [line.get_label() for line in single.axes[0].lines] == ["total"]
    several = drawn(figures.training_curves([row(0, a=1.0, b=2.0)]))
    assert [line.get_label() for line in several.axes[0].lines] == ["total", "a", "b"]


def test_svg_follows_the_page_and_says_what_it_shows(tmp_path: Path) -> None:
    figure = drawn(figures.forest([("<i>", 1.0, 0.5, 1.5, 1)], "ce", "top-1"))
    svg = as_svg(figure, 'differences "from" ce', "forest")
    assert svg.startswith('<svg role="img" aria-label="differences &quot;from&quot; ce" ')
    assert INK not in svg
    assert "currentColor" in svg
    assert "&lt;i&gt;" in svg
    assert svg == as_svg(figure, 'differences "from" ce', "forest")
    for path in write_files(figure, tmp_path, "x"):
        assert path.stat().st_size > 1000
    assert INK in (tmp_path / "x.svg").read_text()  # a file has no page whose ink it could take
