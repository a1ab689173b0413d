"""What lies under a folder: its image files, folder by folder, and what is passed over.

Passed over, by training and by prediction alike: hidden files and folders, what systems leave (`leftover`), files that
are no images by their names, links to folders and links out of the folder unless they are to be followed.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from fsgl.data.images.image_files import readable_suffixes
from fsgl.data.images.leftovers import leftover
from fsgl.data.readers.paths import shorten
from fsgl.errors import UserError

# Pictures, films and archives of them that nothing here reads; they are named, while other files are only counted.
_MEDIA = frozenset({
    ".heic", ".heif", ".hif", ".avif", ".webp", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jxl", ".jxr", ".wdp",
    ".raw", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".srw", ".dng", ".orf", ".rw2", ".rwl",
    ".raf", ".pef", ".x3f", ".3fr", ".iiq", ".kdc", ".dcr", ".erf", ".mef", ".mos", ".mrw",
    ".dcm", ".dicom", ".nii", ".mha", ".mhd", ".nrrd", ".svs", ".ndpi", ".czi", ".lif", ".nd2", ".fits", ".fit", ".npy",
    ".exr", ".hdr", ".svg", ".psd", ".psb", ".xcf", ".kra", ".pdf", ".eps", ".pcx", ".djvu", ".dds", ".qoi",
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".3gp", ".wmv", ".flv", ".mpg", ".mpeg", ".mts", ".m2ts", ".ogv",
    ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar",
})  # fmt: skip
_NAMELESS = "without a suffix"
# How pictures begin; DICOM says so after 128 bytes.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM")
_EXTRAS = {".heic": "heif", ".heif": "heif", ".hif": "heif"}


# Folders to be looked into: where, and the real folders that the links above it led into.
Waiting = list[tuple[str, tuple[str, ...]]]


class Walk:
    """A folder and all in it.

    images: by folder, relative to the first and "" for itself, the names of its image files, both in order.
    folders: all folders, in order.  links: files and folders that are links and not taken.  folder_links: those of them
    that are, or may have been, folders.  broken: those that lead to nothing.  unread: by folder, how many files of
    pictures and films by suffix cannot be read here.  Raises UserError for a folder that cannot be read.
    """

    def __init__(self, path: Path, follow: bool = False, exclude: frozenset[str] = frozenset()) -> None:
        self.path, self._follow, self._exclude = path, follow, exclude
        self._real = os.path.realpath(path)
        self._suffixes = readable_suffixes()
        self.images: dict[str, list[str]] = {}
        self.folders: list[str] = []
        self.links: list[str] = []
        self.folder_links: set[str] = set()
        self.broken: set[str] = set()
        self.unread: dict[str, Counter[str]] = defaultdict(Counter)
        self.hidden = self.others = 0
        self.left: Counter[str] = Counter()
        self.excluded: Counter[str] = Counter()
        waiting: Waiting = [("", (self._real,))]
        while waiting:
            waiting += reversed(self._folder(*waiting.pop()))

    def paths(self) -> list[str]:
        """All image files, relative to the folder."""
        return [f"{folder}/{name}" if folder else name for folder, names in self.images.items() for name in names]

    def _folder(self, folder: str, chain: tuple[str, ...]) -> Waiting:
        """Take the images of a folder. chain: the real folders that links led into. Returns the folders in it."""
        inner: Waiting = []
        images, suffixes = [], self._suffixes
        nameless: list[str] = []
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(self.path / folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    name = entry.name
                    suffix = os.path.splitext(name)[1].lower()
                    if name[0] == ".":
                        self.hidden += 1
                    elif entry.is_symlink() and not self._taken(entry, prefix + name, chain, inner):
                        continue
                    elif entry.is_dir():
                        if not entry.is_symlink():
                            self._take_folder(prefix + name, name, chain, inner)
                    elif suffix in suffixes and entry.is_file():
                        images.append(name)
                    elif suffix in _MEDIA and entry.is_file():
                        self.unread[folder][suffix] += 1
                    elif (not suffix or suffix[1:].isdigit()) and entry.is_file():  # 1.2.840.113 is a name of DICOM
                        nameless.append(name)
                    else:
                        self.others += 1
        except OSError as error:
            raise UserError(f"{self.path / folder}: cannot be read ({error.strerror})") from None
        if nameless and _begins_as_picture(self.path / folder / nameless[0]):
            self.unread[folder][_NAMELESS] += len(nameless)
        else:
            self.others += len(nameless)
        if images:
            self.images[folder] = images
        self.folders += [relative for relative, _ in inner]
        return inner

    def _take_folder(self, relative: str, name: str, chain: tuple[str, ...], inner: Waiting) -> None:
        if not self._passed_over(name):
            inner.append((relative, chain))

    def _passed_over(self, name: str) -> bool:
        """Whether a folder, or a link that may be one, is passed over for its name; if so it is counted."""
        if leftover(name):
            self.left[name] += 1
        elif self._exclude and name.casefold() in self._exclude:
            self.excluded[name] += 1
        else:
            return False
        return True

    def _taken(self, entry: os.DirEntry[str], relative: str, chain: tuple[str, ...], inner: Waiting) -> bool:
        """Whether a link is taken as what it leads to; where that is a folder it is added to ``inner``."""
        real = os.path.realpath(entry.path)
        suffix = os.path.splitext(entry.name)[1].lower()
        picture, file = suffix in self._suffixes or suffix in _MEDIA, os.path.isfile(real)
        if file and (self._follow or not picture or real.startswith(os.path.join(self._real, ""))):
            return True
        if not file and self._passed_over(entry.name):
            return False
        if self._follow and os.path.isdir(real):
            here = os.path.join(os.path.realpath(self.path / os.path.dirname(relative)), "")
            above = os.path.join(real, "")
            if not here.startswith(above) and not any(each == real or each.startswith(above) for each in chain[1:]):
                inner.append((relative, (*chain, real)))
                return True
        self.links.append(relative)
        if not os.path.exists(real):
            self.broken.add(relative)
        if os.path.isdir(real) or (relative in self.broken and not picture):
            self.folder_links.add(relative)
        return False

    def notes(self) -> list[str]:
        """What was passed over, a sentence for people, but for links and unread pictures."""
        counted = []
        if self.hidden:
            counted.append(f"hidden files or folders ({self.hidden:,})")
        if self.left:
            some = some_of(
                f"'{shorten(name)}'" + f" {count}" * (count > 1) for name, count in sorted(self.left.items())
            )
            counted.append(f"folders that systems and programs leave ({some})")
        if self.excluded:
            some = some_of(f"'{shorten(name)}' {count}" for name, count in sorted(self.excluded.items()))
            counted.append(f"excluded folders ({some})")
        if self.others:
            counted.append(f"files that are no images by their names ({self.others:,})")
        return counted


def _begins_as_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    return head.startswith(_BEGINNINGS) or head[128:] == b"DICM"


def say_unread(suffixes: Counter[str]) -> str:
    """ "40 .heic (pip install 'fsgl[heif]' reads them), 2 .mp4"."""
    told = []
    for suffix, count in sorted(suffixes.items(), key=lambda item: (-item[1], item[0])):
        extra = f" (pip install 'fsgl[{_EXTRAS[suffix]}]' reads them)" if suffix in _EXTRAS else ""
        told.append(f"{count:,} {suffix}{extra}")
    return ", ".join(told)


def some_of(items: Iterable[str], most: int = 5) -> str:
    """The first few, and how many more."""
    items = list(items)
    return ", ".join(items[:most]) + (f" and {len(items) - most:,} more" if len(items) > most else "")
