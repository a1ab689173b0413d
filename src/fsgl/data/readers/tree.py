"""The folders that hold images, as a tree, and what can be told of it without any name."""

from __future__ import annotations

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
    the same, and where all hold one or more of a few that others hold, too."""
    by_content: dict[frozenset[str], list[str]] = defaultdict(list)
    for name, node in folders.items():
        by_content[frozenset(node.children)].append(name)
    for content, names in by_content.items():
        if len(names) > 1 and len(content) > 1:
            return names, sorted(content)
    held = Counter(inner for node in folders.values() for inner in node.children)
    usual = {inner for inner, count in held.items() if count > 1 and 2 * count >= len(folders)}
    names = [name for name, node in folders.items() if usual <= node.children.keys()]
    if len(usual) > 1 and len(names) > 1:
        return names, sorted(usual)
    if len(held) > 1 and min(held.values()) > 1 and not any(node.straight for node in folders.values()):
        return list(folders), sorted(held)  # a patient's folder holds "healthy" or "ill", not both
    if len(folders) <= 20:
        for one, other in combinations(folders, 2):
            if both := shared(folders[one], folders[other]):
                return [one, other], sorted(both)
    return None


def shared(one: Node, other: Node) -> set[str]:
    """The folders that two folders share, where these are two or more, and at least half of all."""
    both = one.children.keys() & other.children.keys()
    return both if len(both) > 1 and 2 * len(both) >= len(one.children.keys() | other.children.keys()) else set()
