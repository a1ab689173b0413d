"""The values that flow through one training step, and the legend of shape letters.

Shape letters, used as suffixes of tensor names (``logits_BK``):

    B  images in a batch          C  channels of an image
    H  height in pixels           W  width in pixels
    K  classes                    D  width of the backbone's feature
    N  images in a data set       P  scaling profiles (models/feature_scaling.py)

One step is a straight line::

    Batch --method.mix--> Mixed --method.loss--> Losses --engine.step--> new weights
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """Drawn images of one stream: the same images in one or more augmented views.

    views: tensors ``B x C x H x W``, float, normalised; view j of image i is ``views[j][i]``.
    labels: ``B``, int64, in ``[0, K)``.
    positions: ``B``, int64: which of the training images they are, the same in every epoch and process; for methods
        that keep something of each. (Of one that cannot be read: its own, though another of its class is shown.)
    """

    views: tuple[Tensor, ...]
    labels: Tensor
    positions: Tensor | None = None


@dataclass(frozen=True)
class Share:
    """How many of a step's ``total`` original images are this process's ``own``.

    0 of a last batch that is too small for all processes: one of them then works on an image that does not count.
    """

    own: int
    total: int

    @property
    def weight(self) -> float:
        return self.own / self.total


@dataclass(frozen=True)
class Batch:
    """What a stream yields, on the training device already.

    original: drawn uniformly; an epoch is one pass over the data.
    rebalanced: as many images, drawn with replacement in proportion to 1 / n_k^q; None where the
        method does without (``Method.needs_two_streams``).
    share: of the step's images, where several processes divide them; None for all of them.
    """

    original: Sample
    rebalanced: Sample | None = None
    share: Share | None = None

    @property
    def images(self) -> int:
        """Original images of the whole step, over all processes."""
        return len(self.original.labels) if self.share is None else self.share.total


@dataclass(frozen=True)
class Mixed:
    """What the network is shown: one entry for each forward pass of the step.

    images: tensors ``B x C x H x W``.  targets: soft labels ``B x K``, rows summing to 1.
    extras: what else a method's loss needs, ``B`` rows each: labels, keys of a momentum encoder.
    """

    images: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    extras: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Losses:
    """The objectives of one step, scalars with their graph.

    total: what is descended.  ascent: what SAM ascends; None means ``total``.
    terms: the named, detached parts of ``total``, for the log and for naming the one that is NaN.
    """

    total: Tensor
    ascent: Tensor | None = None
    terms: dict[str, Tensor] = field(default_factory=dict)

    @property
    def ascended(self) -> Tensor:
        """The loss whose gradient SAM ascends."""
        return self.total if self.ascent is None else self.ascent
