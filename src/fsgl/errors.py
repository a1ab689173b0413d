"""Errors meant for the person at the keyboard: what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can fix. The command line prints its one line and exits with 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is none of ``known``, with the nearest real one."""
    names = list(known)
    near = (
        [full for full in names if full.startswith(name)]  # "resnet8" for "resnet8-slim"
        or difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        or [full for full in names if full.rsplit(".", 1)[-1] == name]  # "rho" for "sam.rho"
    )
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    hint = f"did you mean '{near[0]}'?" if name and near else f"known: {shown}"
    return UserError(f"unknown {kind} '{name}'; {hint}")


def first_line(error: BaseException) -> str:
    """What an error says, its first line: others' messages can be pages. The error's kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class PeerLost(Exception):
    """Another process of this run ended, or cannot be reached.  leader: whether this process is the one that talks."""

    def __init__(self, reason: str, leader: bool) -> None:
        self.leader = leader
        super().__init__(reason)
