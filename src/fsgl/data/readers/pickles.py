"""A reader of CIFAR's pickled batches that can execute nothing.

A pickle is a program: whoever supplies the file can have the stock reader call any function, and CIFAR copies of
unknown origin are in use. So this is no restricted ``pickle.Unpickler`` but an interpreter of its own, for the
instructions that plain data and integer arrays need (protocols 0 to 5, written by Python 2 or 3, old or new NumPy).
It imports no module, looks up no attribute and calls nothing that the file names: of the five functions and types that
such files mention it knows the meaning, and does the same itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.errors import UserError

# CIFAR-100's training batch takes 150 to 220 MB, by protocol.
_MAX_BYTES = 1 << 30


def load_cifar_pickle(path: Path | str) -> dict[str, Any]:
    """The dictionary in one of CIFAR's batch or meta files; byte strings are read as Latin-1, keys are ``str``.

    Values are what those files hold: str, bytes, int, bool, None, lists and tuples of these, and integer arrays.
    Raises UserError, naming the file, where it is absent, torn, damaged, not of that kind, or asks for anything to be
    called (that is named too).
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"'{path}' is larger than any CIFAR file; it was not read")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read '{path}' ({error.strerror})") from error
    try:
        value = _Interpreter(data).run()
        if not isinstance(value, dict):
            raise _Refused("it holds no dictionary")
    except _Refused as refused:
        raise UserError(f"'{path}' is not a CIFAR batch file: {refused}") from refused
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"'{path}' is torn or damaged; put an intact copy in its place") from error
    return {key if isinstance(key, str) else key.decode("latin1"): item for key, item in value.items()}


class _Refused(Exception):
    """The file is readable, but is not plain data."""


class _Global(Enum):
    """The functions and types that batch files mention: names to us, nothing that could be called."""

    RECONSTRUCT = auto()
    FROMBUFFER = auto()
    NDARRAY = auto()
    DTYPE = auto()
    ENCODE = auto()


_GLOBALS = {
    "numpy.core.multiarray._reconstruct": _Global.RECONSTRUCT,  # before NumPy 2, and the official archives
    "numpy._core.multiarray._reconstruct": _Global.RECONSTRUCT,
    "numpy.core.numeric._frombuffer": _Global.FROMBUFFER,  # protocol 5
    "numpy._core.numeric._frombuffer": _Global.FROMBUFFER,
    "numpy.ndarray": _Global.NDARRAY,
    "numpy.dtype": _Global.DTYPE,
    "_codecs.encode": _Global.ENCODE,  # how Python 3 writes bytes in protocols 0 to 2
}

_INTEGER_TYPE = re.compile(r"[iu][1248]")
_PY2_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.|$)", re.DOTALL)
_PY2_ESCAPES = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class _Interpreter:
    """Runs one pickle: a stack, a memo, and the instructions of ``_INSTRUCTIONS``."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.view = memoryview(data)
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        # Bytes that may be made out of others: without a bound, a small file could ask for the same ones for ever.
        self.budget = 4 * len(data)

    def run(self) -> Any:
        while True:
            code = self.take(1)
            if code == b".":
                return self.pop()
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise _Refused(f"it has the instruction 0x{code.hex()}, which plain data does not need")
            instruction(self)

    # Reading

    def take(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise ValueError("the file ends early")
        return self.data[start : self.position]

    def take_text(self, size: int, encoding: str) -> str:
        count = self.number(size)
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise ValueError("the file ends early")
        # Decoded in place: the pixels of CIFAR-100 are one such text of 200 MB.
        return str(self.view[start : self.position], encoding, "surrogatepass")

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> bytes:
        start, end = self.position, self.data.index(b"\n", self.position)
        self.position = end + 1
        return self.data[start:end]

    def spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise _Refused("its arrays are larger than the file")

    # The stack. A pop below the last mark would take a value for another, so it counts as damage.

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise IndexError("the stack is empty")
        return self.stack.pop()

    def top(self) -> Any:
        self.push(value := self.pop())
        return value

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    # Values

    def push_tuple(self, size: int) -> None:
        values = [self.pop() for _ in range(size)]
        self.push(tuple(reversed(values)))

    def push_line_int(self) -> None:
        line = self.line()
        self.push(line == b"01" if line in (b"00", b"01") else int(line))  # how protocol 0 writes False and True

    def push_line_string(self) -> None:
        line = self.line()
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
            raise ValueError("a string without its quotes")
        self.push(_PY2_ESCAPE.sub(_unescape, line[1:-1]).decode("latin1"))

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise TypeError("appended to something that is no list")
        target.extend(values)

    def push_dict(self, values: list[Any]) -> None:
        self.push({})
        self.set_items(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(values) % 2:
            raise TypeError("items set in something that is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | bytes):  # hashing a deeply nested tuple would overflow the C stack
                raise TypeError("a key that is no string")
            target[key] = value

    # What would be calls

    def push_global(self, module: str, name: str) -> None:
        known = _GLOBALS.get(f"{module}.{name}")
        if known is None:
            raise _Refused(f"it asks for '{_printable(f'{module}.{name}')}', which is not allowed")
        self.push(known)

    def push_stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise TypeError("a name that is no text")
        self.push_global(module, name)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        match function, arguments:
            case _Global.RECONSTRUCT, (_Global.NDARRAY, (0,), "b" | b"b"):
                self.push(np.empty(0, dtype=np.uint8))
            case _Global.DTYPE, (str() as code, _, _):
                if not _INTEGER_TYPE.fullmatch(code):
                    raise _Refused(f"it holds an array of type '{_printable(code)}'; only integers are allowed")
                self.push(np.dtype(f"<{code}"))
            case _Global.ENCODE, (str() as text, "latin1" | "latin-1"):
                self.spend(len(text))
                self.push(text.encode("latin1"))
            case _Global.FROMBUFFER, (bytes() as raw, np.dtype() as dtype, tuple() as shape, "C" | "F" as order):
                raw = self.contents(raw, dtype, shape)
                self.push(np.frombuffer(raw, dtype=dtype).reshape(shape, order=order).copy())
            case _:
                raise _Refused("it asks for a call that no CIFAR file needs")

    def build(self) -> None:
        state, target = self.pop(), self.top()
        match target, state:
            # Byte orders: none (single bytes) or little-endian, as the type was made.
            case np.dtype(), (3, "|" | "<", None, None, None, -1, -1, 0):
                pass
            case np.ndarray(), (1, tuple() as shape, np.dtype() as dtype, int() as fortran, bytes() | str() as raw):
                # In place, since the memo may hold it too. NumPy's own method, and all it is given has been checked.
                checked: Any = (1, shape, dtype, bool(fortran), self.contents(raw, dtype, shape))
                target.__setstate__(checked)
            case _:
                raise _Refused("it sets the state of something that no CIFAR file holds")

    def contents(self, raw: bytes | str, dtype: np.dtype, shape: tuple[Any, ...]) -> bytes:
        """The bytes of an array, once it is sure that they fill it exactly."""
        if len(shape) > 4 or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("not the shape of an array")
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise ValueError("the array and its bytes differ in size")
        self.spend(len(raw))
        return raw.encode("latin1") if isinstance(raw, str) else raw


def _unescape(found: re.Match[bytes]) -> bytes:
    escape = found[1]
    return bytes([int(escape[1:], 16)]) if len(escape) == 3 else _PY2_ESCAPES[escape]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:80])


_INSTRUCTIONS: dict[bytes, Callable[[_Interpreter], object]] = {
    b"\x80": lambda m: m.take(1),  # protocol
    b"\x95": lambda m: m.take(8),  # frame
    b"(": lambda m: m.mark(),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    # Whole numbers
    b"I": lambda m: m.push_line_int(),
    b"L": lambda m: m.push(int(m.line().removesuffix(b"L"))),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"\x8a": lambda m: m.push(m.number(m.number(1), signed=True)),
    # Texts: Python 2's strings, then Unicode, then bytes
    b"S": lambda m: m.push_line_string(),
    b"U": lambda m: m.push(m.take_text(1, "latin1")),
    b"T": lambda m: m.push(m.take_text(4, "latin1")),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"\x8c": lambda m: m.push(m.take_text(1, "utf-8")),
    b"X": lambda m: m.push(m.take_text(4, "utf-8")),
    b"\x8d": lambda m: m.push(m.take_text(8, "utf-8")),
    b"C": lambda m: m.push(m.take(m.number(1))),
    b"B": lambda m: m.push(m.take(m.number(4))),
    b"\x8e": lambda m: m.push(m.take(m.number(8))),
    b"\x96": lambda m: m.push(m.take(m.number(8))),
    # Containers
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.since_mark()),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: m.push_tuple(1),
    b"\x86": lambda m: m.push_tuple(2),
    b"\x87": lambda m: m.push_tuple(3),
    b"}": lambda m: m.push({}),
    b"d": lambda m: m.push_dict(m.since_mark()),
    b"s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.set_items(m.since_mark()),
    # The memo
    b"p": lambda m: m.remember(int(m.line())),
    b"q": lambda m: m.remember(m.number(1)),
    b"r": lambda m: m.remember(m.number(4)),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"g": lambda m: m.push(m.memo[int(m.line())]),
    b"h": lambda m: m.push(m.memo[m.number(1)]),
    b"j": lambda m: m.push(m.memo[m.number(4)]),
    # What would be calls
    b"c": lambda m: m.push_global(m.line().decode("utf-8"), m.line().decode("utf-8")),
    b"\x93": lambda m: m.push_stack_global(),
    b"R": lambda m: m.reduce(),
    b"b": lambda m: m.build(),
}
