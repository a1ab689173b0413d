"""Weights for a backbone, from a file, a package or the hub: nothing in it executes, all of it fits or none.

A file is one of safetensors, or what torch.save wrote, of which tensors alone are read (``weights_only=True``). Three
layouts are understood: timm's, as its models are published, whose classifier is left out; that of a run of this
project (model.safetensors), whose backbone is taken and whose heads are left; and the names of another code base that
models/foreign_names.py knows.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fsgl.errors import UserError, first_line
from fsgl.models.backbone import Backbone
from fsgl.models.foreign_names import as_timm_names
from fsgl.models.packaged import locate
from fsgl.models.timm_backbones import PREFIX, TimmBackbone, configuration
from fsgl.models.transfer import HUB, PACKAGE

PICKLED = (".pth", ".pt", ".bin", ".tar")
# Where trainers keep the weights in what they save, the averaged ones first.
INSIDE = ("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "net")
RENAMING = "; the same network under other names must be renamed first (docs/pretrained.md, foreign names)"
FILE_ON_HUB = "model.safetensors"
LOCAL = "download its model.safetensors elsewhere and give the file: --pretrained FILE"


@dataclass(frozen=True)
class Origin:
    """What a backbone began with, for the record of a run.

    kind: "hub", "package" or "file".  source: name on the hub with its revision, of the package with its file, or the
    file's name without its folder.
    sha256: of the backbone's weights once loaded (``digest``), hence the same for equal weights from anywhere.
    licence: as timm states it, where it does.
    """

    kind: str
    source: str
    sha256: str
    licence: str | None = None


def load_weights(backbone: Backbone, name: str, weights: str) -> Origin:
    """Load ``weights`` ("hub", "package" or a file) into the backbone that is called ``name``.

    Raises UserError; the backbone is then as it was.
    """
    if weights == PACKAGE:
        path, known = locate(name)
        _load_file(backbone, name, path, f"{known.package}/{path.name}")
        return Origin("package", f"{known.package}/{path.name}", digest(backbone), known.licence)
    if weights != HUB:
        path = Path(weights)
        _load_file(backbone, name, path, str(path))
        return Origin("file", path.name, digest(backbone))
    if not isinstance(backbone, TimmBackbone):
        raise UserError(
            f"--pretrained without a file needs a backbone of timm ({PREFIX}NAME); for this one give a safetensors file"
        )
    published = configuration(backbone.name)
    repository, named = published.hf_hub_id, f"{PREFIX}{published.architecture}.{published.tag}"
    if not repository:
        raise UserError(f"{name}: no weights on the hub; give a file: --pretrained FILE")
    path = _from_hub(str(repository), named)
    _load_file(backbone, name, path, f"{repository}/{FILE_ON_HUB}")
    return Origin("hub", f"{repository}@{path.parent.name[:12]}", digest(backbone), published.license)


def digest(module: nn.Module) -> str:
    """SHA-256, in hex, of a module's weights and buffers with their names, types and shapes."""
    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _from_hub(repository: str, named: str) -> Path:
    """The hub's file in its local cache; downloaded where it is not there."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, FILE_ON_HUB, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        print(f"fetching the weights of {named} from the hub", flush=True)
    try:
        with _quiet_hub():
            return Path(hf_hub_download(repository, FILE_ON_HUB))
    except LocalEntryNotFoundError:
        reason = "the hub cannot be reached and the weights are not in its local cache"
    except EntryNotFoundError:
        reason = f"{repository} on the hub has no {FILE_ON_HUB}"
    except Exception as error:  # the client passes on its network library's own errors
        reason = first_line(error)
    raise UserError(f"no weights for {named}: {reason}; {LOCAL}")


@contextmanager
def _quiet_hub() -> Any:
    """Within: the hub's client does not comment on every retry, as one line says it in the end."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file: safetensors, or of torch.save, read with ``weights_only=True``.

    Of a training state (a dict with "state_dict", "model" or the like beside other things) the weights are taken, of
    an averaged ("ema") and a plain one the averaged; "module." in front of all names, from DataParallel, is taken away.
    Raises UserError for a file that is missing, or neither, or would execute something.
    """
    import safetensors
    import safetensors.torch

    if path.is_dir():
        raise UserError(f"{path}: a folder; give the safetensors file in it")
    if not path.exists():
        raise UserError(f"{path}: no such file; --pretrained takes a safetensors or .pth file, or package")
    if path.suffix in PICKLED:
        return _unwrapped(path, _unpickled(path))
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        reason = first_line(error)
        hint = f"; one of torch.save must be called {', '.join(PICKLED)}"
        raise UserError(f"{path}: not a safetensors file ({reason}){hint}") from None


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch each have their own
        reason = first_line(error)[:120]
        raise UserError(
            f"{path}: not read, as it is damaged or holds more than tensors, which could execute code ({reason}); "
            "where you trust it: torch.save(model.state_dict(), FILE) writes the tensors alone"
        ) from None


def _unwrapped(path: Path, found: Any) -> dict[str, Tensor]:
    for key in INSIDE:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    items = found.items() if isinstance(found, dict) else ()
    tensors = {name: value for name, value in items if isinstance(value, Tensor)}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise UserError(f"{path}: holds no tensors by name (a state_dict), as --pretrained needs them")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return {name: value.contiguous() for name, value in tensors.items()}


def _load_file(backbone: Backbone, name: str, path: Path, shown: str) -> None:
    tensors = read_tensors(path)
    inside = {key.removeprefix("backbone."): value for key, value in tensors.items() if key.startswith("backbone.")}
    target: nn.Module = backbone
    misfit = _misfit(backbone, inside or tensors)
    if isinstance(backbone, TimmBackbone) and not inside:
        target = backbone.net
        tensors, misfit = _as_timm_builds(backbone, tensors)
    if misfit:
        alike = sorted(map(_shape, tensors.values())) == sorted(map(_shape, target.state_dict().values()))
        raise UserError(f"{shown} does not fit {name}: {misfit}{RENAMING if alike else ''}")
    target.load_state_dict(inside or tensors)


def _as_timm_builds(backbone: TimmBackbone, published: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Published tensors with what this backbone has no use for left out, and what is then still wrong, "" for nothing.

    First as they are; where that does not fit, through the conversion that the model's own module in timm has for
    older layouts and other image sizes.
    """
    tensors = _adapted(backbone, published)
    misfit = _misfit(backbone.net, tensors)
    convert = getattr(sys.modules[type(backbone.net).__module__], "checkpoint_filter_fn", None)
    if misfit and (renamed := as_timm_names(backbone.net, published)) is not None:
        named = _adapted(backbone, renamed)
        return named, _misfit(backbone.net, named)
    if not misfit or convert is None:
        return tensors, misfit
    try:
        converted = _adapted(backbone, dict(convert(dict(published), backbone.net)))
    except Exception:  # it was written for the model's own files, and this may be any
        return tensors, misfit
    return (converted, "") if not _misfit(backbone.net, converted) else (tensors, misfit)


def _adapted(backbone: TimmBackbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the classifier; the first convolution for this number of image channels, as timm does it."""
    import timm.models

    published = configuration(backbone.name)
    wanted = backbone.net.state_dict()
    # What stands under the classifier's name (head.fc) or beside it (head.norm) and is not wanted is part of the head.
    heads = tuple({name.split(".")[0] + "." for name in _names(published.classifier)})
    kept = {name: value for name, value in tensors.items() if name in wanted or not heads or not name.startswith(heads)}
    for name in _names(published.first_conv):
        weight = kept.get(f"{name}.weight")
        if weight is not None and weight.ndim == 4 and weight.shape[1] == 3 != backbone.in_channels:
            kept[f"{name}.weight"] = timm.models.adapt_input_conv(backbone.in_channels, weight)
    return kept


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _misfit(module: nn.Module, tensors: dict[str, Tensor]) -> str:
    """In words, what keeps the tensors from being loaded into the module; "" where nothing does."""
    wanted = module.state_dict()
    reshaped = [name for name, value in wanted.items() if name in tensors and tensors[name].shape != value.shape]
    parts = [
        _some("missing", [name for name in wanted if name not in tensors]),
        _some("unknown", [name for name in tensors if name not in wanted]),
        _some("of another shape", reshaped),
    ]
    if reshaped:
        first = reshaped[0]
        parts.append(f"{first} is {_shape(tensors[first])} in the file and {_shape(wanted[first])} in the network")
    return "; ".join(filter(None, parts))


def _some(what: str, names: Iterable[str]) -> str:
    listed = list(names)
    if not listed:
        return ""
    shown = ", ".join(listed[:2]) + (", ..." if len(listed) > 2 else "")
    return f"{len(listed)} {'tensor is' if len(listed) == 1 else 'tensors are'} {what} ({shown})"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
