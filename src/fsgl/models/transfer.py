"""Settings of where a backbone's weights come from and how much of them training changes."""

from __future__ import annotations

from dataclasses import dataclass

from fsgl.errors import UserError
from fsgl.settings import check, setting

HUB = "hub"
PACKAGE = "package"
TRAINED = ("all", "heads", "bias", "lora")
BATCH_NORMS = ("batch", "frozen")
CLASSIFIERS = ("linear", "cosine")


@dataclass(frozen=True)
class TransferSpec:
    """What is transferred, and what is trained. The defaults are training from scratch."""

    weights: str | None = setting(
        None,
        "none for fresh ones; hub for those published for a timm backbone; package for those of an installed "
        "package (fsgl[weights]); or a file, of safetensors or of torch.save",
    )
    train: str = setting(
        "all",
        "the whole network; the heads, on a frozen backbone; or the heads and of the backbone its biases, or LoRA "
        "adapters (models/light.py)",
        choices=TRAINED,
    )
    backbone_lr: float = setting(
        1.0, "the backbone's learning rate as a share of the heads'", above=0, reason="for 0: transfer.train=heads"
    )
    image_size: int | None = setting(
        None, "side in pixels of what the backbone is shown; none is a timm model's own, else what the data have",
        at_least=1, at_most=4096,
    )  # fmt: skip
    cached_views: int = setting(
        0, "with train=heads: views of each training image whose features are computed once (runs/feature_cache.py)",
        at_least=0, at_most=1000,
    )  # fmt: skip

    batch_norm: str = setting(
        "batch",
        "of a backbone that is trained: normalise by each batch, whose statistics the running ones follow, or by the "
        "statistics that it began with",
        choices=BATCH_NORMS,
        later=True,
    )
    layer_decay: float = setting(
        1.0, "the learning rate of a backbone's layer as a share of that of the layer above it", above=0, at_most=1,
        later=True,
    )  # fmt: skip
    probe_epochs: int = setting(
        0, "epochs in which the heads alone are trained, on kept features, before everything is (runs/begin.py)",
        at_least=0, later=True,
    )  # fmt: skip
    probe_lr: float = setting(0.05, "learning rate of these epochs", above=0, later=True)
    classifier: str = setting(
        "linear",
        "of methods with one linear classifier: that, or one by cosines, begun at class means of pretrained features",
        choices=CLASSIFIERS,
        later=True,
    )
    lora_rank: int = setting(8, "of the adapters of train=lora", at_least=1, at_most=1024, later=True)
    cosine_scale: float = setting(25.0, "by which the cosines are multiplied; LIFT's", above=0, later=True)

    def __post_init__(self) -> None:
        check(self, "transfer")
        if self.batch_norm == "frozen" and self.weights is None:
            raise UserError("transfer.batch_norm=frozen keeps pretrained statistics: name transfer.weights")
        if self.light and self.weights is None:
            raise UserError(f"transfer.train={self.train} leaves most of the backbone as it is: name transfer.weights")
        if self.lora_rank != 8 and self.train != "lora":
            raise UserError("transfer.lora_rank is of transfer.train=lora")
        if self.probe_epochs and (self.weights is None or self.train == "heads"):
            raise UserError(
                "transfer.probe_epochs comes before the backbone is trained from pretrained weights: name "
                "transfer.weights, and leave transfer.train=heads (--freeze) off"
            )
        if self.probe_lr != 0.05 and not self.probe_epochs:
            raise UserError("transfer.probe_lr is of the epochs of transfer.probe_epochs, which are none")
        if self.cosine_scale != 25 and self.classifier != "cosine":
            raise UserError("transfer.cosine_scale is of transfer.classifier=cosine")
        if self.weights == "":
            raise UserError(f"transfer.weights is empty; give '{HUB}', '{PACKAGE}', a file, or none")
        if self.train == "heads" and self.backbone_lr != 1:
            raise UserError("transfer.backbone_lr is of no use with transfer.train=heads, which freezes the backbone")
        if self.train == "heads" and self.layer_decay != 1:
            raise UserError("transfer.layer_decay is of no use with transfer.train=heads, which freezes the backbone")
        if self.cached_views and self.train != "heads":
            raise UserError("transfer.cached_views needs a frozen backbone: transfer.train=heads (--freeze) as well")

    @property
    def light(self) -> bool:
        """Whether little of the backbone is trained."""
        return self.train in ("bias", "lora")

    @property
    def means(self) -> bool:
        """Whether the classifier begins at class means."""
        return self.classifier == "cosine" and self.weights is not None

    @property
    def kind(self) -> str:
        """Where the weights come from, without the file's name: "scratch", "hub", "package" or "file"."""
        return {None: "scratch", HUB: "hub", PACKAGE: "package"}.get(self.weights, "file")
