"""What could not be read during a run: left out and listed, or the end of the run."""

from __future__ import annotations

from collections.abc import Iterable

from fsgl.data.images.image_files import BadImage
from fsgl.errors import UserError, unknown

POLICIES = ("skip", "error")


class BadImages:
    """The unreadable images of a run.

    policy: "skip" goes on without them: in training another image of the class takes the place, in evaluation the image
    is not counted. "error" ends the run at the first.  reasons: by path.
    """

    def __init__(self, policy: str = "skip") -> None:
        if policy not in POLICIES:
            raise unknown("bad-images policy", policy, POLICIES)
        self.policy = policy
        self.reasons: dict[str, str] = {}

    def note(self, found: Iterable[tuple[str, str]]) -> None:
        """Add (path, reason) pairs. Raises UserError where the policy is "error"."""
        for path, reason in found:
            if self.policy == "error":
                raise UserError(f"{BadImage(path, reason)}; fix or remove it, or go on without with --bad-images skip")
            self.reasons[path] = reason
