"""SADE's test-time aggregation on a run: its experts' weights, learnt from the test images without their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from fsgl.data.stream.features import ImageFeatures
from fsgl.data.stream.streams import StreamSpec
from fsgl.errors import UserError
from fsgl.evaluation.aggregation import learn_aggregation
from fsgl.models.assemble import RecognitionNet
from fsgl.models.experts import ExpertHeads
from fsgl.runs.network import ModelWithData

EPOCHS, BATCH = 5, 128  # the authors'


def aggregate(network: ModelWithData, device: torch.device, workers: int) -> list[float]:
    """Put the weights into the network and return them. Raises UserError where it has no experts."""
    model, data, method = network.model, network.data, network.experiment.method
    assert isinstance(model, RecognitionNet)
    heads = model.classifier
    if not isinstance(heads, ExpertHeads):
        raise UserError(f"{method.name} has no experts to aggregate; sade has")
    if isinstance(data.test, ImageFeatures):
        raise UserError("aggregation needs two views of each test image, and of cached features there is one")
    # The training views of the test images: crops, flips and whatever else the run had.
    test = replace(data, train=data.test)
    stream = test.stream(StreamSpec(BATCH, 2, None, network.experiment.seed), device, workers)
    model.eval()

    def views(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in stream.batches(epoch):
            with torch.no_grad():
                first, second = (heads.each(model.features(view)) for view in batch.original.views)
            yield first, second

    weights = learn_aggregation((views(epoch) for epoch in range(EPOCHS)), len(heads.heads))
    heads.weights_E.copy_(weights)
    return [float(weight) for weight in weights]
