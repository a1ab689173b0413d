"""``fsgl.auto``: a good network for somebody's images, in a given time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsgl.api.given import split_settings
from fsgl.api.run import Run
from fsgl.api.training import keep_arrays, read_given, share_settings
from fsgl.automatic.asked import Asked
from fsgl.automatic.run import auto as search
from fsgl.engine.runtime import RunInterrupted, Runtime
from fsgl.errors import UserError


def auto(
    data: Any,
    test: Any = None,
    val: Any = None,
    *,
    minutes: float = 10.0,
    run: Path | str | None = None,
    class_names: Sequence[str] | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    show: bool = True,
    **settings: Any,
) -> Run:
    """Search heads, losses and settings on features of a pretrained network, and return the run of the chosen one.

    data, test, val, class_names: as of ``fsgl.train``. Validation images that are given are what is chosen by;
    otherwise folds of the training images are. Test images are scored once, after the choice.
    Where the minutes allow, the network of the best heads is fine-tuned and judged, too (docs/auto.md).
    minutes: for everything.  run: the run folder, by default runs/auto-DATA; the same call goes on with what an earlier
    one tried there, as far as its minutes reach.  jobs: trials at a time, by default one a core.  ray: the
    address of a Ray cluster that shares the disk, for the trials; "local" starts one.  show: progress.
    settings: of all candidates (image_size=128, epochs=20, backbone="timm:...", pretrained="hub"), and the fields of
    ``fsgl.Runtime``.

    What was tried and why this one was chosen is in the record, ``run.record["auto"]``, and on auto.html. Needs
    ``pip install 'fsgl[weights,tune]'``. Raises UserError; RunInterrupted after a signal, with the best so far saved.

    >>> import fsgl, tempfile
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> few = [*range(40), *range(1700, 1790)]
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     run = fsgl.auto((digits.images[few], digits.target[few]), minutes=2, run=folder, image_size=32, epochs=3)
    ...     print(run.record["auto"]["chosen"]["recipe"])
    """
    began = time.monotonic()
    assignments, runtime = split_settings(settings)
    if isinstance(val, int | float):
        raise UserError("fsgl.auto validates by folds; val is images of your own, or nothing")
    source = read_given(data, test, val, class_names)
    folder = None if run is None else Path(run)
    name = str(data)
    if source is not None:
        folder = folder or Path("runs") / "auto-arrays"
        name = str(keep_arrays(source, folder).absolute())
    how = Runtime(**{"trackers": (), "workers": 2, **runtime, "show": False})
    outcome = search(Asked(
        name, minutes, {}, assignments + share_settings(test, None), folder, jobs, how, source, began, show, ray
    ))  # fmt: skip
    if outcome.signal_number is not None:
        raise RunInterrupted(outcome.folder, outcome.signal_number, complete=outcome.found is not None)
    return Run(outcome.folder, device=how.device)
