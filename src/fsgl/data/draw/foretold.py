"""What training will say of how somebody's own images are split, before anything is trained."""

from __future__ import annotations

from fsgl.data.draw.holdout import require_trainable, with_test, with_validation
from fsgl.data.draw.together import keep_together
from fsgl.data.images.sources import Source
from fsgl.data.readers.small_images import keep_small_images
from fsgl.errors import UserError


def foretell_parts(source: Source, val: float) -> list[str]:
    """The sentences of ``fsgl train`` on copies, groups, leaks and parts, by what it does unless told otherwise.

    val: the share for validation. The same functions are called, so it looks for copies as training does.

    >>> from fsgl.data.images.sources import ImageArrays
    >>> import numpy as np
    >>> images = ImageArrays(np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1) // 2, np.arange(40) // 20)
    >>> for line in foretell_parts(Source("twice", images, None, ("a", "b"), (0.5,), (0.5,)), val=0.1):
    ...     print(line)
    copies: 40 training images are 20 (the same content); each stays on one side of a split
    no test images of its own: 0.2 of each class set aside, 8 images (seed 0)
    for validation 0.1 of each class set aside, 4 images (seed 0)
    """
    notes: tuple[str, ...] = source.notes
    before = len(notes)
    try:
        source = keep_small_images(source, skip_bad=True)
        require_trainable(source)
        before, carves = len(source.notes), source.test is None or source.val is None
        source, _ = keep_together(source, "together", carves)
        notes = source.notes
        source, _ = with_test(source, None, 0)
        *_, last = with_validation(source, val, 0)
        notes = (*source.notes, *last)
    except UserError as error:
        notes = (*notes, f"fsgl train stops: {error}")
    return list(notes[before:])
