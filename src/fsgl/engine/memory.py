"""Memory that is freed in one step kept for the next.

A step frees and takes again hundreds of MB of activations. glibc hands large blocks back to the system at once, and the
system fills them with zeros before it gives them out again: a tenth of a training step on a CPU (docs/speed.md). GPUs
have torch's caching allocator for it.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h; glibc takes at most 32 MiB for the latter


def keep_freed_memory() -> bool:
    """Let this process keep what it frees. False where the C library is not glibc, whose setting this is."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 32 << 20)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
