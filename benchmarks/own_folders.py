"""Folders of pictures that Debian ships, a folder for each class: what stands for images of one's own in measurements.

    stamps     796 drawings and photographs in 16 folders, 247 to 3 a class (tuxpaint-stamps-default)
    clip-art   1,068 drawings in 30 folders, 110 to 3 a class (openclipart-png, the leaves that are named below)
    icons      601 icons of 128 pixels in 9 folders, 164 to 2 a class (oxygen-icon-theme)

Each is fetched by ``apt-get download``, which raises CalledProcessError where Debian's archive cannot be reached.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

STAMPS, CLIP_ART, ICONS = "tuxpaint-stamps-default", "openclipart-png", "oxygen-icon-theme"
LEAVES = (
    "mammals", "fruit", "music", "sports", "desserts", "clothing", "vehicles", "hardware", "beverages", "birds", "bugs",
    "homes", "weapons", "boating", "toys", "flowers", "meats_and_eggs", "weather", "bodypart", "breads_and_carbs",
    "religion", "clocks", "fish", "trees", "books", "telephone", "dinosaurs", "vegetables", "furniture", "dairy",
)  # fmt: skip


def fetch_stamps(folder: Path) -> Path:
    """The stamps, below ``folder``; the folder of the classes."""
    root = _unpacked(STAMPS, folder) / "usr/share/tuxpaint/stamps"
    return _copied(((path, path.relative_to(root)) for path in root.rglob("*.png")), folder / "stamps")


def fetch_clip_art(folder: Path) -> Path:
    """The clip art."""
    root = _unpacked(CLIP_ART, folder) / "usr/share/openclipart/png"
    leaves = [leaf for leaf in root.rglob("*") if leaf.is_dir() and leaf.name in LEAVES]
    return _copied(
        ((path, Path(leaf.name, path.name)) for leaf in leaves for path in leaf.rglob("*.png")), folder / "openclipart"
    )


def fetch_icons(folder: Path) -> Path:
    """The icons."""
    root = _unpacked(ICONS, folder) / "usr/share/icons/oxygen/base/128x128"
    return _copied(((path, path.relative_to(root)) for path in root.rglob("*.png")), folder / "icons")


FOLDERS: Mapping[str, Callable[[Path], Path]] = {
    "stamps": fetch_stamps, "clip-art": fetch_clip_art, "icons": fetch_icons,
}  # fmt: skip


def _unpacked(package: str, folder: Path) -> Path:
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
    (archive,) = folder.glob(f"{package}*.deb")
    subprocess.run(["dpkg-deb", "-x", str(archive), str(folder / "unpacked")], check=True)
    return folder / "unpacked"


def _copied(found: Iterable[tuple[Path, Path]], target: Path) -> Path:
    """Files, not links, each to its place below ``target``."""
    for path, place in sorted(found):
        if path.is_file() and not path.is_symlink():
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / place)
    return target
