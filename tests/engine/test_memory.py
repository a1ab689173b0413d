"""What glibc says of itself: freed memory is kept, and the next of the same size is taken from there."""

from __future__ import annotations

import ctypes
import json
import platform

import pytest
from tests import forked

SIZE = 2**26  # bytes of the tensor
# In a process of its own, as nothing takes the setting back; numbers of bytes, without it and with it.
CODE = """
import ctypes, json, torch
from fsgl.engine.memory import keep_freed_memory

class Told(ctypes.Structure):  # struct mallinfo2 of malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

tell = ctypes.CDLL(None).mallinfo2
tell.restype = Told

def rounds():  # the last of ten: an aligned block does not fit at once where one like it was, so the heap first grows
    return [changes() for _ in range(10)][-1]

def changes():
    tensor = torch.ones(2**24)
    held = tell()
    del tensor
    freed = tell()
    tensor = torch.ones(2**24)
    again = tell()
    return {"kept": freed.fordblks - held.fordblks, "given back": held.hblkhd - freed.hblkhd,
            "taken": freed.fordblks - again.fordblks, "mapped anew": again.hblkhd - freed.hblkhd,
            "grown": again.arena - freed.arena}

print(json.dumps([rounds(), keep_freed_memory(), rounds()]))
"""


def _glibc_tells() -> bool:
    return platform.libc_ver()[0] == "glibc" and hasattr(ctypes.CDLL(None), "mallinfo2")  # 2.33 and later


@pytest.mark.skipif(not _glibc_tells(), reason="a setting of glibc, of which mallinfo2 tells")
def test_freed_memory_is_taken_again_without_asking_the_system() -> None:
    done = forked.run(code=CODE)
    assert done.returncode == 0, done.stderr
    usual, set_so, kept = json.loads(done.stdout)
    assert set_so
    assert _in_tensors(usual) == {"kept": 0, "given back": 1, "taken": 0, "mapped anew": 1, "grown": 0}
    assert _in_tensors(kept) == {"kept": 1, "given back": 0, "taken": 1, "mapped anew": 0, "grown": 0}


def _in_tensors(told: dict[str, int]) -> dict[str, int]:
    return {name: round(change / SIZE) for name, change in told.items()}
