from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fsgl.commands import cli
from fsgl.data.images.alike import DISTANCE, alike, same
from fsgl.inspection.label_errors import confident_errors, likely_errors
from fsgl.inspection.recommend import recommend
from fsgl.inspection.scan import examine_image
from fsgl.inspection.tail import describe_tail, gini


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any))
def test_gini_is_half_the_relative_mean_difference(counts: list[int]) -> None:
    sizes = np.array(counts, dtype=float)
    expected = np.abs(sizes[:, None] - sizes).mean() / (2 * sizes.mean())
    assert gini(sizes) == pytest.approx(expected, abs=1e-12)


def test_gini_of_equal_classes_and_of_one_that_has_all() -> None:
    assert gini(np.full(7, 30)) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 10])) == pytest.approx(3 / 4)


def test_groups_by_number_and_by_thirds() -> None:
    found = describe_tail(np.array([5, 500, 20, 21, 100, 101, 0]))
    assert (found["imbalance_factor"], found["largest"], found["smallest"]) == (100.0, 500, 0)
    assert {name: group["classes"] for name, group in found["fixed"].items()} == {"many": 2, "medium": 2, "few": 3}
    thirds = {name: (group["classes"], group["images"], group["smallest"]) for name, group in found["thirds"].items()}
    assert thirds == {"many": (3, 701, 100), "medium": (2, 41, 20), "few": (2, 5, 0)}


# ---------------------------------------------------------------- duplicates


def test_same_hashes_are_grouped_and_empty_ones_are_not() -> None:
    assert same(["a", "b", "", "a", "", "c", "b", "a"]) == [[0, 3, 7], [1, 6]]


@given(st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1)), max_size=25), st.integers(0, 2**32 - 1))
def test_alike_is_every_pair_within_the_distance_and_what_hangs_together(looks: list[int | None], seed: int) -> None:
    random = np.random.default_rng(seed)
    near = [v ^ sum(1 << int(b) for b in random.choice(64, 3, replace=False)) for v in looks[:8] if v is not None]
    every = [*looks, *near]
    groups = alike(every)
    group_of = {place: number for number, group in enumerate(groups) for place in group}
    links = [
        (i, j)
        for i, one in enumerate(every)
        for j, other in enumerate(every[:i])
        if one is not None and other is not None and (one ^ other).bit_count() <= DISTANCE
    ]
    assert all(group_of[i] == group_of[j] for i, j in links)
    assert set(group_of) == {place for link in links for place in link}
    for group in groups:  # each hangs together by links
        reached = {group[0]}
        while more := {i for a, b in links for i in (a, b) if {a, b} & reached} - reached:
            reached |= more
        assert reached == set(group)


def test_a_brighter_copy_looks_alike_and_a_flat_image_like_nothing() -> None:
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 200, (6, 8, 3), dtype=np.uint8))
    photo = coarse.resize((80, 60), Image.Resampling.BICUBIC)
    brighter = photo.point(lambda value: min(255, value + 20)).resize((70, 50))
    seen = [examine_image(image) for image in (photo, photo.copy(), brighter, Image.new("RGB", (80, 60), "red"))]
    assert seen[0].pixels == seen[1].pixels != seen[2].pixels
    assert seen[0].looks is not None
    assert seen[2].looks is not None
    assert (seen[0].looks ^ seen[2].looks).bit_count() <= DISTANCE
    assert seen[3].looks is None
    assert alike([each.looks for each in seen]) == [[0, 1, 2]]
    assert examine_image(Image.new("RGB", (2, 3))).pixels != examine_image(Image.new("RGB", (3, 2))).pixels


# ---------------------------------------------------------------- labels


def test_confident_errors_by_a_loop() -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(4) * 0.5, 200)
    labels = np.array([random.choice(4, p=row) for row in shares])
    thresholds = [np.mean([shares[i, k] for i in range(200) if labels[i] == k]) for k in range(4)]
    expected = {}
    for i in range(200):
        candidates = [k for k in range(4) if shares[i, k] >= thresholds[k]]
        if candidates and (best := max(candidates, key=lambda k: shares[i, k])) != labels[i]:
            expected[i] = best
    found = confident_errors(shares, labels)
    assert {place: k for place, k, _ in found} == expected
    assert expected
    assert [share for _, _, share in found] == sorted((share for _, _, share in found), reverse=True)


def test_planted_errors_are_found_and_little_else() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1, 3], 60)
    colours = np.array([[200, 40, 40], [40, 200, 40], [0, 0, 0], [40, 40, 200]])
    pixels = (colours[labels][:, None, None] + random.normal(0, 40, (180, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    wrong = labels.copy()
    wrong[[3, 70, 150]] = [1, 3, 0]
    found, accuracy, judged = likely_errors(pixels.reshape(180, -1) / 255, wrong)
    assert {(place, k) for place, k, _ in found[:3]} == {(3, 0), (70, 1), (150, 3)}
    assert len(found) <= 6
    assert accuracy > 90
    assert judged == 180


def test_nothing_is_said_where_the_model_knows_nothing_or_classes_are_tiny() -> None:
    random = np.random.default_rng(2)
    noise = random.random((120, 768))
    found, accuracy, judged = likely_errors(noise, np.arange(120) % 3)
    assert (found, judged) == ([], 120)
    assert accuracy < 50
    assert likely_errors(noise[:6], np.array([0, 0, 0, 1, 1, 1]))[0] == []


def test_what_is_recommended_is_a_command_and_its_reasons() -> None:
    tail = describe_tail(np.array([900, 300, 40, 3]))
    advice = recommend(tail, 400.0, in_memory=False, has_test=False)
    words = ["auto", "PATH", *advice["options"]]
    assert advice["command"] == words[0]
    options, settings = cli.parse(words)
    assert (options.minutes, settings) == (5, [])
    assert any("ImageNet" in reason for reason in advice["reasons"])
    assert any("enlarged" in reason for reason in recommend(tail, 100.0, in_memory=False, has_test=True)["reasons"])
    assert any("may reach further" in reason for reason in recommend(tail, 32.0, True, has_test=True)["reasons"])
    assert any("fewer than 5 images" in reason for reason in advice["reasons"])
    assert any("no test set" in reason for reason in advice["reasons"])
    assert any(
        "hardly a tail" in reason
        for reason in recommend(describe_tail(np.array([50, 60])), 32.0, True, True)["reasons"]
    )
    assert recommend(describe_tail(np.array([30_000, 500])), 400.0, False, True)["options"] == ["--minutes", "31"]
