"""The folders that hold images, as a tree, and what can be told of it without any name."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

DEEPEST = 12  # levels of folders that are looked at for what they mean


@dataclass
class Node:
    """A folder.  straight: images in it.  all: with those in the folders below.  children: only those with images."""

    straight: int = 0
    all: int = 0
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def deep(self) -> int:
        return self.all - self.straight


def tree_of(images: Mapping[str, Sequence[str]]) -> Node:
    """The folders that hold images, by the names of the images in each."""
    root = Node()
    for folder, names in images.items():
        node, steps = root, folder.split("/") if folder else []
        node.all += len(names)
        for step in steps[:DEEPEST]:
            node = node.children.setdefault(step, Node())
            node.all += len(names)
        if len(steps) <= DEEPEST:
            node.straight += len(names)
    return root


def below_lone(node: Node) -> tuple[tuple[str, ...], Node]:
    """Down through folders that hold one folder and no image, to the first that holds more; none where none does."""
    base, below = [], node
    while len(below.children) == 1 and not next(iter(below.children.values())).straight:
        name, below = next(iter(below.children.items()))
        base.append(name)
    return (tuple(base), below) if len(below.children) > 1 else ((), node)


def joined(nodes: Iterable[Node]) -> Node:
    """Several folders as if they were one; of folders of one name below them the last is kept."""
    nodes = list(nodes)
    children = {name: child for node in nodes for name, child in node.children.items()}
    return Node(sum(node.straight for node in nodes), sum(node.all for node in nodes), children)


def alike(folders: Mapping[str, Node]) -> tuple[list[str], list[str]] | None:
    """Folders that hold the same two or more folders, and these; also where most folders, or two of a few, hold mostly
    the same, and where all hold one or more of a few that others hold, too. Names are one that differ in letter case or
    Unicode form."""
    holds = {name: {plain(inner): inner for inner in node.children} for name, node in folders.items()}
    spelt = {key: inner for inside in reversed(holds.values()) for key, inner in inside.items()}
    by_content: dict[frozenset[str], list[str]] = defaultdict(list)
    for name, inside in holds.items():
        by_content[frozenset(inside)].append(name)
    for content, names in by_content.items():
        if len(names) > 1 and len(content) > 1:
            return names, sorted(spelt[key] for key in content)
    held = Counter(key for inside in holds.values() for key in inside)
    usual = {key for key, count in held.items() if count > 1 and 2 * count >= len(folders)}
    names = [name for name, inside in holds.items() if usual <= inside.keys()]
    if len(usual) > 1 and len(names) > 1:
        return names, sorted(spelt[key] for key in usual)
    if len(held) > 1 and min(held.values()) > 1 and not any(node.straight for node in folders.values()):
        return list(folders), sorted(spelt.values())  # a patient's folder holds "healthy" or "ill", not both
    if len(folders) <= 20:
        for one, other in combinations(folders, 2):
            if both := shared(folders[one], folders[other]):
                return [one, other], sorted(both)
    return None


def shared(one: Node, other: Node) -> set[str]:
    """The folders of ``one`` that ``other`` has, too, where these are two or more, and at least half of all."""
    mine = {plain(name): name for name in one.children}
    theirs = {plain(name) for name in other.children}
    both = mine.keys() & theirs
    return {mine[key] for key in both} if len(both) > 1 and 2 * len(both) >= len(mine.keys() | theirs) else set()


def plain(name: str) -> str:
    """A folder's name without letter case, in one Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()
