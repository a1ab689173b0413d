"""The trials of a search on a Ray cluster whose machines share the disk with this one and have fsgl installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsgl.engine.ray_connection import ray_connection
from fsgl.errors import UserError, first_line


class RayWorkers:
    """As ``workers.Workers``, each an actor with one core."""

    def __init__(self, ray: Any, count: int) -> None:
        self._ray, self.count = ray, count
        self._actors: list[Any] = []
        self._running: dict[Any, Any] = {}  # what will be answered -> who works on it

    def begin(self, folder: Path) -> None:
        """Let all read the pool in this folder."""
        trainer = self._ray.remote(_Trainer).options(num_cpus=1, max_restarts=0)
        self._actors = [trainer.remote(str(folder.absolute())) for _ in range(self.count)]

    @property
    def idle(self) -> int:
        """How many have nothing to do."""
        return len(self._actors) - len(self._running)

    def give(self, number: int, experiment: dict[str, Any]) -> None:
        """A candidate to an idle one."""
        busy = list(self._running.values())
        actor = next(actor for actor in self._actors if actor not in busy)
        self._running[actor.work.remote({"number": number, "experiment": experiment})] = actor

    def answers(self, timeout: float) -> Iterator[dict[str, Any]]:
        """What has ended, within so many seconds. Raises UserError where an actor died."""
        if not self._running:
            return
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        for each in done:
            del self._running[each]
            try:
                answer = self._ray.get(each)
            except Exception as error:  # Ray's own: a machine or its memory is gone
                raise UserError(f"a trial on the Ray cluster died: {first_line(error)}") from None
            yield answer

    def close(self) -> None:
        """End them all, whatever they are at; again, nothing."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors, self._running = [], {}


class _Trainer:
    """On the machine that Ray chose. folder: of the pool, in which logits are left."""

    def __init__(self, folder: str) -> None:
        import torch

        from fsgl.automatic.heads import Pool
        from fsgl.engine.memory import keep_freed_memory

        keep_freed_memory()
        torch.set_num_threads(1)
        self._folder, self._pool = Path(folder), Pool.read(Path(folder))

    def work(self, task: dict[str, Any]) -> dict[str, Any]:
        from fsgl.automatic.worker import work

        return work(task, self._pool, self._folder)


@contextmanager
def ray_workers(address: str, count: int | None) -> Iterator[RayWorkers]:
    """Within: ``RayWorkers``. address: see ``ray_connection``.  count: None is one a core of the cluster."""
    with ray_connection(address) as ray:
        found = RayWorkers(ray, count or max(1, int(ray.cluster_resources().get("CPU", 1))))
        try:
            yield found
        finally:
            found.close()
