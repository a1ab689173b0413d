"""Why the network said so: where it looked, and which training images it took an image for.

    where        Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2) on the backbone's last feature maps:
                 relu(sum_c a_c A_c), a_c the mean over places of the gradient of the predicted class's logit
    nearest      training images by the cosine of the backbone's features, up to ``MOST``, alike many of each class

Of a transformer, which has no feature maps, the first is left out.
"""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsgl.data.images.image_files import BadImage
from fsgl.data.images.sources import Images
from fsgl.data.images.thumbnails import thumbnail
from fsgl.data.stream.features import ImageFeatures
from fsgl.errors import UserError
from fsgl.models.assemble import views_in
from fsgl.runs.network import ModelWithData
from fsgl.runs.saved import TrainedModel

MOST = 1000  # training images that are compared with, at most
NEAREST = 3
SIDE = 96  # pixels of a picture
SMALL = 48


@dataclass(frozen=True)
class Why:
    """looked: a data URI, what the network was shown with the place where it looked in red; None of a transformer.
    nearest: (data URI, class) of training images, the nearest first."""

    looked: str | None
    nearest: tuple[tuple[str, int], ...]


def attention(network: ModelWithData | TrainedModel, images_BCHW: Tensor, classes_B: np.ndarray) -> np.ndarray | None:
    """Where the network looked for these classes, ``B x h x w`` in [0, 1]; None without feature maps.

    All 0 where nothing speaks for the class. Of two views of an image, one above the other, the maps stand likewise.
    Another thread may use the model meanwhile.
    """
    model, maps, here = network.model, [], threading.get_ident()
    backbone: nn.Module = model.get_submodule("backbone")

    def keep(module: nn.Module, given: Any, made: Any) -> None:
        if threading.get_ident() != here:
            return
        if isinstance(made, Tensor) and made.ndim == 4 and min(made.shape[2:]) > 1:
            maps.append(made)

    hooks = [module.register_forward_hook(keep) for module in backbone.modules()]
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            logits = network.experiment.method.predict(model, images_BCHW.detach().clone().requires_grad_(True))
            chosen = logits.gather(1, torch.from_numpy(classes_B).to(logits.device)[:, None])
            if not maps:
                return None
            passes = views_in(images_BCHW, bool(model.stacked))
            last = [maps[len(maps) * (one + 1) // passes - 1] for one in range(passes)]
            gradients = torch.autograd.grad(chosen.sum(), last)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    spoken = [
        (gradient.mean(dim=(2, 3), keepdim=True) * of).sum(dim=1) for gradient, of in zip(gradients, last, strict=True)
    ]
    found = torch.relu(torch.cat(spoken, dim=1)).detach()
    most = found.amax(dim=(1, 2), keepdim=True)
    return np.asarray((found / most.clamp(min=1e-12)).float().cpu().numpy())


class Reasons:
    """Of images of a run: ``of(images, position, predicted)``.

    network: with the images that it was trained on. Raises UserError where it has features for these.
    """

    def __init__(self, network: ModelWithData, device: torch.device, workers: int = 0, seed: int = 0) -> None:
        self._network, self._device = network, device
        train = network.data.train
        if isinstance(train, ImageFeatures):
            raise UserError("training images are shown, and features alone are at hand")
        labels = np.asarray(train.labels)
        chosen = _alike_many(labels, seed)
        rows = network.features(train.take(chosen), device, workers)
        known = ~np.isnan(rows).any(axis=1)
        self._train, self._places = train, chosen[known]
        self._rows = _unit(rows[known])

    def of(self, images: Images, position: int, predicted: int) -> Why:
        """Why the network took this image for this class. Raises BadImage."""
        one = images.take(np.array([position]))
        (shown,) = self._network.data.evaluation_batches(one, self._device)
        where = attention(self._network, shown, np.array([predicted]))
        data = self._network.data
        looked = None if where is None else picture(shown[0], where[0], data.mean, data.std)
        feature = _unit(self._network.features(one, self._device))[0]
        order = np.argsort(-(self._rows @ feature), kind="stable")[:NEAREST]
        nearest = []
        for place in self._places[order].tolist():
            try:
                nearest.append((thumbnail(self._train.open(place), SMALL), int(self._train.labels[place])))
            except BadImage:
                continue
        return Why(looked, tuple(nearest))


def picture(shown_CHW: Tensor, where: np.ndarray, mean: Sequence[float], std: Sequence[float], side: int = SIDE) -> str:
    """What the network was shown, in grey, with the place where it looked in red: a JPEG as a data URI.

    shown: as normalised by ``mean`` and ``std``.  where: ``h x w`` in [0, 1].  side: pixels of the picture's width.
    """
    from PIL import Image

    centre, scale = (np.array(values)[:, None, None] for values in (mean, std))
    pixels = (shown_CHW.float().cpu().numpy() * scale + centre).clip(0, 1).transpose(1, 2, 0)
    grey = pixels.mean(axis=2, keepdims=True)
    heat = Image.fromarray((255 * where).astype(np.uint8)).resize(pixels.shape[1::-1], Image.Resampling.BILINEAR)
    share = 0.6 * np.asarray(heat)[..., None] / 255
    red = (1 - share) * grey + share * np.array([1.0, 0.1, 0.0])
    made = Image.fromarray((255 * red).astype(np.uint8))
    made = made.resize((side, side * made.height // made.width), Image.Resampling.BILINEAR)
    made.save(buffer := io.BytesIO(), "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _alike_many(labels: np.ndarray, seed: int) -> np.ndarray:
    """Positions of up to MOST images: the first of every class in a drawn order, then the second, ..."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for k in np.unique(labels):
        of_class = order[labels[order] == k]
        rank[of_class] = np.arange(len(of_class))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:MOST])


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
