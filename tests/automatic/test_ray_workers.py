"""Trials on a Ray cluster, by a stand-in that answers as Ray does: an actor's work is done when somebody waits for it.

(With a cluster of Ray's own, one machine: ``fsgl auto PATH --ray local``.)
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.automatic.test_search import LABELS, base, features_of

from fsgl.automatic.heads import Pool, out_of_fold
from fsgl.automatic.ray_workers import ray_workers
from fsgl.automatic.worker import logits_file
from fsgl.data.draw.folds import validation_folds
from fsgl.data.stream.features import ImageFeatures
from fsgl.errors import UserError


class Actor:
    """A handle, whose methods answer with what ``get`` calls."""

    def __init__(self, made: Any) -> None:
        self.made, self.killed, self.work = made, False, self

    def remote(self, task: dict[str, Any]) -> Any:
        assert not self.killed
        return lambda: self.made.work(task)


class Cluster(ModuleType):
    def __init__(self, lost: bool) -> None:
        super().__init__("ray")
        self.lost, self.actors, self.connected = lost, [], False  # type: ignore[var-annotated]

    def init(self, **options: Any) -> None:
        assert options["address"] == "cluster:6379"
        self.connected = True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, kind: type) -> Any:
        class Of:
            @staticmethod
            def options(**wanted: Any) -> type[Of]:
                assert wanted["num_cpus"] == 1
                return Of

            @staticmethod
            def remote(folder: str) -> Actor:
                self.actors.append(Actor(kind(folder)))
                return self.actors[-1]

        return Of

    def wait(self, running: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return running[:num_returns], running[num_returns:]

    def get(self, reference: Any) -> Any:
        if self.lost:
            raise RuntimeError("the actor died\nand more")
        return reference()

    def kill(self, actor: Actor) -> None:
        actor.killed = True

    def shutdown(self) -> None:
        self.connected = False


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    views = np.random.default_rng(0).normal(size=(1, len(LABELS), 8)).astype(np.float32)
    folds = validation_folds(LABELS, 3, 0, 3)
    found = Pool(ImageFeatures(views, LABELS), folds, ("a", "b", "c"), features_of(8))
    found.write(tmp_path)
    return found


def test_trials_on_a_cluster_leave_the_logits_that_they_leave_here(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(lost=False)
    monkeypatch.setitem(sys.modules, "ray", cluster)
    recipes = ("cross-entropy", "balanced-softmax", "logit-adjustment")
    with ray_workers("cluster:6379", None) as workers:
        assert workers.count == 2  # one a core
        assert workers.idle == 0
        workers.begin(tmp_path)
        assert list(workers.answers(0.0)) == []
        for number, recipe in enumerate(recipes[:2]):
            workers.give(number, base(recipe).to_json())
        assert workers.idle == 0
        (first,) = workers.answers(1.0)
        assert (first["number"], first["failed"], workers.idle) == (0, None, 1)
        workers.give(2, base(recipes[2]).to_json())
        assert [answer["number"] for _ in range(2) for answer in workers.answers(1.0)] == [1, 2]
        assert workers.idle == 2
    assert [actor.killed for actor in cluster.actors] == [True, True]
    assert not cluster.connected
    for number, recipe in enumerate(recipes):
        assert np.array_equal(np.load(logits_file(tmp_path, number)), out_of_fold(base(recipe), pool))


def test_a_machine_that_is_lost_ends_the_search_in_one_line(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(lost=True)
    monkeypatch.setitem(sys.modules, "ray", cluster)
    with ray_workers("cluster:6379", 1) as workers:
        workers.begin(tmp_path)
        workers.give(0, base("cross-entropy").to_json())
        with pytest.raises(UserError, match=r"a trial on the Ray cluster died: the actor died$"):
            list(workers.answers(1.0))
    assert not cluster.connected
