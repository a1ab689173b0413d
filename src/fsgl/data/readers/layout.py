"""Which folder is a part, and which a class: understood by names and by what lies in them, or asked about.

    cat, dog                            classes
    train/cat, test/cat                 parts above the classes, as part_names.py knows them
    train/train/cat, data/train/cat     with lone folders between
    cat/train, cat/test                 parts in every class

Where two folders hold the same folders, one cannot tell classes from what else they may be (parts, cameras, images
beside masks): that, and a part whose role is open, is a UserError that says how to say what is meant.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fsgl.data.readers.doubts import (
    as_option,
    ask_of_alike,
    refuse_one_beside_its_like,
    refuse_parts_of_parts,
    refuse_parts_without_classes,
    some,
)
from fsgl.data.readers.part_names import PartName, part_name
from fsgl.data.readers.paths import shorten
from fsgl.data.readers.reading import PARTS, Reading
from fsgl.data.readers.tree import DEEPEST, Node, below_lone, joined, shared
from fsgl.errors import UserError


@dataclass(frozen=True)
class Layout:
    """Where a path says part and class.

    base: folders that all lie in.  class_at: the place of the class among a path's folders; in some parts another.
    part_at: the place of the part, None where there are none.  part_of: by folder, the part.
    """

    base: tuple[str, ...] = ()
    class_at: int = 0
    part_at: int | None = None
    part_of: Mapping[str, str] = field(default_factory=dict)
    class_at_in: Mapping[str, int] = field(default_factory=dict)

    def place(self, steps: Sequence[str]) -> tuple[str, str, str] | None:
        """Part, class, and the folder of that class, of images whose folders are ``steps``; None where it has none."""
        if tuple(steps[: len(self.base)]) != self.base:
            return None
        part, class_at = "train", self.class_at
        if self.part_at is not None:
            if len(steps) <= self.part_at or steps[self.part_at] not in self.part_of:
                return None
            folder = steps[self.part_at]
            part, class_at = self.part_of[folder], self.class_at_in.get(folder, class_at)
        if len(steps) <= class_at:
            return None
        return part, steps[class_at], "/".join(steps[: max(class_at, self.part_at or 0) + 1])

    def lacks(self, steps: Sequence[str]) -> bool:
        """Whether a folder that is not looked into would be a part by its name and place."""
        at, name = self.part_at, part_name(steps[-1])
        beside = at is not None and len(steps) == at + 1 and steps[at] not in self.part_of
        return beside and name is not None and not name.rest

    @property
    def kind(self) -> str:
        """In words."""
        above = "/".join(self.base)
        kind = "a folder for each class" + (f" in {above}" if above else "")
        if self.class_at > len(self.base) + (self.part_at is not None and self.part_at < self.class_at):
            kind += f", the class at level {self.class_at + 1}"
        if self.part_at is None:
            return kind
        folders = sorted(self.part_of, key=lambda folder: list(PARTS).index(self.part_of[folder]))
        usual = all((name := part_name(f)) and not name.rest and name.part == self.part_of[f] for f in folders)
        told = ", ".join(f if usual else f"{f} ({PARTS[self.part_of[f]]})" for f in folders)
        return f"{kind} {'under' if self.part_at < self.class_at else 'and in it'} {told}"


def find_layout(path: Path, root: Node, reading: Reading) -> Layout:
    """What the folders under ``path`` mean. Raises UserError, with what can be said, where that is open."""
    if reading.parts or reading.class_level:
        return _as_told(path, root, reading)
    base, node = below_lone(root)
    layout = _in_parts(path, node, base) or (_in_parts(path, root, ()) if base else None)
    if layout is None and base:
        below, count = path.joinpath(*base), len(node.children)
        raise UserError(f"{path}: holds one folder, and the classes seem to be the {count} in it; name {below}")
    if layout is None:
        refuse_parts_without_classes(path, root)
        ask_of_alike(path, root, 0)
        layout = Layout()
    return layout


def _in_parts(path: Path, node: Node, base: tuple[str, ...]) -> Layout | None:
    """The layout of a folder, at the end of ``base``, that holds parts or whose classes do; None for any other."""
    at = len(base)
    if parts := _parts_above(path, node):
        layout = _with_parts(node, base, parts)
        train = Node()
        for folder, part in parts.items():
            classes = node.children[folder]
            for _ in range(at + 1, layout.class_at_in.get(folder, layout.class_at)):
                classes = next(iter(classes.children.values()))
            refuse_one_beside_its_like(path, classes, layout.class_at)
            if part == "train":
                train.children |= classes.children
        refuse_parts_of_parts(path, parts, train)
        ask_of_alike(path, train, layout.class_at, in_parts=True)
        return layout
    if inside := _parts_inside(path, node):
        below = {name: joined(child.children.values()) for name, child in node.children.items()}
        ask_of_alike(path, Node(children=below), at, 3, in_parts=True)
        return Layout(base, at, at + 1, inside)
    return None


def _parts_above(path: Path, node: Node) -> dict[str, str]:
    """The folders of parts in a folder, with their parts; empty where it has none. Raises UserError."""
    tops = node.children
    named = {name: said for name, child in tops.items() if (said := part_name(name)) and _holds_classes(said, child)}
    found = _parts_of({name: said for name, said in named.items() if _is_part(name, named, tops)})
    for part, words in PARTS.items():
        same = [name for name, each in found.items() if each == part]
        if len(same) > 1:
            both = " and ".join(f"'{shorten(name)}'" for name in same[:2])
            one = as_option(found)
            raise UserError(f"{path}: {both} are both {words} images; rename one, or join them with {one}")
    others = {name: child for name, child in tops.items() if name not in found}
    if "train" not in found.values():
        if found and not others:
            raise UserError(f"{path}: holds {some(found)} but no 'train'; name the folder that holds the classes")
        for name in found:
            if beside := set(tops[name].children) & set(others):
                raise UserError(
                    f"{path}: '{shorten(name)}' holds folders that also lie beside it ({some(beside)}); put the "
                    f"training images into a folder 'train', or leave it out with --exclude {shlex.quote(name)}"
                )
        return {}
    alone = set(found.values()) == {"train"}
    open_part = next((part for part in ("test", "val") if part not in found.values()), "train")
    for name, child in others.items():
        for fellow in found:
            if same_in := shared(tops[fellow], child):
                raise UserError(
                    f"{path}: '{shorten(fellow)}' and '{shorten(name)}' hold the same folders ({some(same_in)}); if it "
                    f"is a part, {as_option({**found, name: open_part})}; --exclude {shlex.quote(name)} leaves it out"
                    + "; where both are classes, --class-level 1" * alone
                )
        if alone and not part_name(name):
            train = next(iter(found))
            raise UserError(
                f"{path}: '{shorten(train)}' holds folders ({some(tops[train].children)}) and lies beside "
                f"{some(others)}; where these are classes alike, --class-level 1; where '{shorten(train)}' is the "
                f"part to train on, {as_option(found)}"
            )
    return found


def _holds_classes(name: PartName, node: Node) -> bool:
    """Whether the images of a folder of that name lie in folders. Those straight in "train" make it a class, among
    buses and trams, unless they are few; those straight in "test", or in "test/test", are images without classes."""
    if len(node.children) == 1 and not node.straight and name.part != "train":
        ((inner, below),) = node.children.items()
        if (again := part_name(inner)) and again.part == name.part and not below.children:
            return False
    return node.deep > 0 and ((name.part != "train" and not name.rest) or 10 * node.straight <= node.deep)


def _is_part(name: str, named: Mapping[str, PartName], tops: Mapping[str, Node]) -> bool:
    """Whether a name that speaks of a part is one: by saying nothing else, or by a fellow of the other part."""
    mine = named[name]

    def alike(fellow: str) -> bool:  # "train station" and "test tube" that hold parts are classes
        both = shared(tops[name], tops[fellow])
        return bool(both) and not all(map(part_name, both))

    return not mine.rest or any(
        other.part != mine.part and (other.rest == mine.rest or alike(fellow)) for fellow, other in named.items()
    )


def _parts_of(named: Mapping[str, PartName]) -> dict[str, str]:
    """By folder its part; "eval" is for validation where there is a test part, or else the test."""
    has_test = any(found.part == "test" for found in named.values())
    return {name: ("val" if has_test else "test") if found.part == "eval" else found.part
            for name, found in named.items()}  # fmt: skip


def _parts_inside(path: Path, node: Node) -> dict[str, str]:
    """The folders of parts that lie in every class, or nothing."""
    classes = node.children
    named = {inner: part_name(inner) for child in classes.values() for inner in child.children}
    found = {inner: each for inner, each in named.items() if each and not each.rest}
    parts = _parts_of(found)
    holding = {name: {parts[inner] for inner in child.children if inner in parts} for name, child in classes.items()}
    with_them = [name for name, held in holding.items() if "train" in held]
    if len(set(parts.values())) < 2 or len(with_them) < 2:
        return {}
    odd = [name for name, child in classes.items()
           if name not in with_them or child.straight or set(child.children) - set(parts)]  # fmt: skip
    if odd:
        raise UserError(
            f"{path}: the folders {some(with_them)} hold {some(parts)}, but '{shorten(odd[0])}' does not, or "
            "holds more beside them; put all images of the classes into such folders, or say --class-level 1 to take "
            "each class whole"
        )
    return parts


def _with_parts(node: Node, base: tuple[str, ...], parts: Mapping[str, str]) -> Layout:
    """Of parts above classes, how far below each the classes lie: lone folders may be between."""
    at = len(base)
    lone = {folder: below_lone(node.children[folder])[0] for folder in parts}
    classes = {folder: set(node.children[folder].children) for folder in parts}
    for folder, between in lone.items():
        others = [names for other, names in classes.items() if other != folder]
        # The only class of a part, whose images lie in folders, is no folder between.
        if between and any(len(names) > 1 and between[0] in names for names in others):
            lone[folder] = ()
    class_at_in = {folder: at + 1 + len(between) for folder, between in lone.items()}
    train = next(folder for folder, part in parts.items() if part == "train")
    return Layout(base, class_at_in[train], at, dict(parts), class_at_in)


def _as_told(path: Path, root: Node, reading: Reading) -> Layout:
    """By --parts, --class-level, or both."""
    parts = reading.named_parts()
    class_at = None if reading.class_level is None else reading.class_level - 1
    levels = [{"": root}]
    for _ in range(DEEPEST):
        levels.append({f"{above}/{name}": child for above, node in levels[-1].items()
                       for name, child in node.children.items()})  # fmt: skip
    if parts:
        where = {name: next((at for at, level in enumerate(levels[1:]) if at != class_at and
                             any(folder.rsplit("/", 1)[1] == name for folder in level)), None)
                 for name in parts}  # fmt: skip
        absent = [name for name, at in where.items() if at is None]
        if absent:
            raise UserError(f"{path}: --parts names '{shorten(absent[0])}', but no folder of that name holds images")
        if len(set(where.values())) > 1:
            raise UserError(f"{path}: the folders of --parts ({some(parts)}) lie at different levels; join them first")
        part_at = next(iter(where.values()))
        assert part_at is not None
        above = levels[part_at]
        if class_at is not None:
            return Layout((), class_at, part_at, parts)
        if len(above) > 1:
            return Layout((), part_at - 1, part_at, parts)
        ((prefix, node),) = above.items()
        base = tuple(prefix.split("/")[1:])
        return (
            _with_parts(node, base, parts) if "train" in parts.values() else Layout(base, part_at + 1, part_at, parts)
        )
    assert class_at is not None
    for at in range(min(class_at, DEEPEST - 1)):
        if len(levels[at]) == 1 and (found := _parts_above(path, next(iter(levels[at].values())))):
            return Layout((), class_at, at, found)
        names = {folder.rsplit("/", 1)[1] for folder in levels[at + 1]}
        named = {name: each for name in names if (each := part_name(name)) and not each.rest}
        if len(named) == len(names) > 1 and "train" in _parts_of(named).values():
            return Layout((), class_at, at, _parts_of(named))
    if class_at < DEEPEST:
        classes = levels[class_at + 1]
        names = {inner for node in classes.values() for inner in node.children}
        named = {name: each for name in names if (each := part_name(name)) and not each.rest}
        whole = not any(node.straight for node in classes.values())
        if whole and len(named) == len(names) > 1 and "train" in _parts_of(named).values():
            return Layout((), class_at, class_at + 1, _parts_of(named))
    return Layout((), class_at)
