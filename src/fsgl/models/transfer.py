"""Settings of where a backbone's weights come from and how much of them training changes."""

from __future__ import annotations

from dataclasses import dataclass

from fsgl.errors import UserError, unknown

HUB = "hub"
TRAINED = ("all", "heads")


@dataclass(frozen=True)
class TransferSpec:
    """What is transferred, and what is trained. The defaults are training from scratch.

    weights: None, fresh ones; "hub", those published for a timm backbone; or a safetensors file.
    train: "all", the whole network; "heads", with the backbone frozen, its BatchNorm statistics too.
    backbone_lr: the backbone's learning rate as a share of the heads'.
    image_size: side in pixels of what the backbone is shown; None is a timm model's own, else what the data have.
    cached_views: with train "heads", views of each training image whose features are computed once and trained on
    (runs/feature_cache.py); 0 runs the backbone in every step.
    """

    weights: str | None = None
    train: str = "all"
    backbone_lr: float = 1.0
    image_size: int | None = None
    cached_views: int = 0

    def __post_init__(self) -> None:
        if self.weights == "":
            raise UserError(f"transfer.weights is empty; give '{HUB}', a safetensors file, or none")
        if self.train not in TRAINED:
            raise unknown("transfer.train", self.train, TRAINED)
        if not 0 < self.backbone_lr < float("inf"):
            raise UserError(
                f"transfer.backbone_lr must be above 0, not {self.backbone_lr}; for 0 there is transfer.train=heads"
            )
        if self.train == "heads" and self.backbone_lr != 1:
            raise UserError("transfer.backbone_lr is of no use with transfer.train=heads, which freezes the backbone")
        if self.image_size is not None and not 1 <= self.image_size <= 4096:
            raise UserError(f"transfer.image_size must be from 1 to 4096 pixels, not {self.image_size}")
        if not 0 <= self.cached_views <= 1000:
            raise UserError(f"transfer.cached_views must be from 0 to 1000, not {self.cached_views}")
        if self.cached_views and self.train != "heads":
            raise UserError("transfer.cached_views needs a frozen backbone: transfer.train=heads (--freeze) as well")

    @property
    def kind(self) -> str:
        """Where the weights come from, without the file's name: "scratch", "hub" or "file"."""
        return {None: "scratch", HUB: "hub"}.get(self.weights, "file")
