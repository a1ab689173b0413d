"""What a run begins with: its data, and a pretrained network's heads: class means, or a linear probe, both from cached
features.

    linear probe, then fine-tuning      the heads alone on the frozen backbone's features, then everything from there
                                        (Kumar et al., ICLR 2022: fresh heads distort the features that they begin on)
    class means                         rows of a cosine classifier: the mean of each class's features, all of length 1
                                        (LIFT, Shi et al., ICML 2024, section 4.3)

The probe is plain: SGD, a cosine over ``transfer.probe_epochs`` from ``transfer.probe_lr``, weight decay 5e-4, batches
of 64, with the recipe's own losses, samplers and SAM, on as many views as the method is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from fsgl.data.images.sources import Source
from fsgl.data.load import LoadedData, load_data
from fsgl.data.stream.features import ImageFeatures
from fsgl.engine.fit import fit
from fsgl.engine.processes import Processes
from fsgl.engine.runtime import Placement, Runtime
from fsgl.engine.tally import NonFiniteLoss
from fsgl.errors import UserError
from fsgl.models.assemble import RecognitionNet
from fsgl.models.heads import CosineLinear
from fsgl.models.transfer import TransferSpec
from fsgl.optim.averaging import AveragingSpec
from fsgl.optim.schedule import Schedule
from fsgl.recipes.experiment import Experiment, OptimSpec
from fsgl.runs.assemble import assemble, set_compute_dtype
from fsgl.runs.feature_cache import default_folder, with_cached_features
from fsgl.runs.network import ModelWithData

PROBE = {"batch_size": 64, "weight_decay": 5e-4}


def load_together(experiment: Experiment, processes: Processes, source: Source | None = None) -> LoadedData:
    """The data, the leader first: it may download them, and says what is wrong with them once. source: already read."""
    data = load_data(experiment.data, source) if processes.leader else None
    processes.agree(None)
    return data or load_data(experiment.data, source)


def begin_heads(
    network: ModelWithData, runtime: Runtime, placement: Placement, features: ImageFeatures | None = None
) -> dict[str, Any] | None:
    """Begin the heads as ``transfer`` says, in place.

    features: of the training images on the frozen backbone, as many views as the method is shown, where they are at
    hand; None finds them in the cache, or computes them.
    Returns what it took, for the run's record; None where they stay fresh. Raises UserError for a probe that diverges.
    """
    experiment, model = network.experiment, network.model
    transfer = experiment.transfer
    if not (transfer.means or transfer.probe_epochs):
        return None
    assert isinstance(model, RecognitionNet)
    start, frozen, loss = time.perf_counter(), model.frozen, None
    trained = [weight for weight in model.backbone.parameters() if weight.requires_grad]
    model.freeze_backbone()
    if not isinstance(network.data.train, ImageFeatures):
        alone = replace(network, experiment=probe_of(experiment))
        if features is None:
            network = featured(alone, runtime, placement)
        else:
            network = replace(alone, data=replace(network.data, train=features))
    if transfer.means:
        assert isinstance(network.data.train, ImageFeatures)
        begin_at_means(model, network.data.train)
    if transfer.probe_epochs:
        plain = replace(runtime, compile=False, cuda_graphs=False, max_steps=None)
        state, plan = assemble(network.experiment, network, plain, placement)
        try:
            for report in fit(state, plan, lambda step: False):
                loss = report.loss["total"]
        except NonFiniteLoss as error:
            raise UserError(f"the linear probe diverged ({error}); try a smaller transfer.probe_lr") from None
    if not frozen:
        model.unfreeze_backbone(trained)
    return {"epochs": transfer.probe_epochs, "loss": loss, "seconds": time.perf_counter() - start}


def featured(
    network: ModelWithData, runtime: Runtime, placement: Placement, told: Callable[[int, int], None] | None = None
) -> ModelWithData:
    """The network with cached features, the leader first: it computes those that are missing.

    told: as of ``with_cached_features``.
    """
    processes, folder = placement.processes, folder_of_features(runtime)
    set_compute_dtype(network.model, placement.precision)
    processes.begin_alike(network.model)
    network.model.eval()

    def found() -> ModelWithData:
        quiet = not (processes.leader and runtime.show)
        return with_cached_features(network, folder, placement.device, runtime.workers, quiet, told=told)

    first = found() if processes.leader else None
    processes.agree(None)
    return first or found()


def folder_of_features(runtime: Runtime) -> Path:
    """Where this execution keeps them."""
    return Path(runtime.feature_cache or default_folder())


def probe_of(experiment: Experiment) -> Experiment:
    """The same experiment with the heads alone trained, on cached features."""
    full = experiment.transfer
    alone = TransferSpec(
        full.weights, "heads", image_size=full.image_size, cached_views=experiment.method.views,
        classifier=full.classifier, cosine_scale=full.cosine_scale,
    )  # fmt: skip
    return replace(
        experiment,
        transfer=alone,
        optim=OptimSpec(epochs=max(1, full.probe_epochs), **PROBE),  # type: ignore[arg-type]
        schedule=Schedule(full.probe_lr),
        averaging=AveragingSpec(),
        evaluation=replace(experiment.evaluation, mirror=False),
    )


def begin_at_means(model: RecognitionNet, train: ImageFeatures) -> None:
    """Let the rows of its cosine classifier be the class means of the training images' features, all of length 1.

    A class without training images keeps its fresh row.
    """
    classifier = model.classifier
    assert isinstance(classifier, CosineLinear)
    rows, labels = torch.from_numpy(np.array(train.views[0])), torch.from_numpy(train.labels)
    sums = torch.zeros(classifier.weight.shape).index_add_(0, labels, normalize(rows, dim=1))
    known = torch.bincount(labels, minlength=len(sums)) > 0
    with torch.no_grad():
        means = normalize(sums, dim=1).to(classifier.weight)
        classifier.weight[known.to(means.device)] = means[known.to(means.device)]
