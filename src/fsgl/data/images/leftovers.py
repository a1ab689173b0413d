"""Files and folders that systems and programs leave beside pictures, and that are none."""

from __future__ import annotations

# Synology, QNAP, Windows, macOS, Linux, Nextcloud; and what programs keep beside pictures. Compared without case.
_NAMES = frozenset({
    "__macosx", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@synoresource", "@sharebin", "#recycle",
    "#snapshot", "$recycle.bin", "recycler", "recycled", "system volume information", "lost+found", "found.000",
    "network trash folder", "temporary items", "thumbs", "thumb", "thumbnail", "thumbnails", "thumbs.db", "desktop.ini",
    "cache", "caches", "_cache", "_caches", "__pycache__", "_thumbs", "_thumbnails", "lost.dir", "node_modules",
})  # fmt: skip
_ENDS = (".lrdata", ".photoslibrary")  # of Lightroom and Photos


def leftover(name: str) -> bool:
    """Whether a system or a program leaves a file or folder of that name beside pictures; hidden ones apart."""
    return name.casefold() in _NAMES or name.casefold().endswith(_ENDS)
