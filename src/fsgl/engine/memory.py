"""Memory that is freed in one step kept for the next.

A step frees and takes again hundreds of MB of activations. glibc hands large blocks back to the system at once, and the
system fills them with zeros before it gives them out again: a tenth of a training step on a CPU (docs/speed.md), of
photographs more. GPUs have torch's caching allocator for it.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep what it frees. False where the C library is not glibc, whose setting this is."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # No block is mapped for itself: a threshold would not do, as glibc takes none above 32 MiB.
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
