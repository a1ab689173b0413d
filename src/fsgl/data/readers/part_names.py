"""How people write training, validation and test in the names of folders and in tables.

train, Training, TRN                            the words themselves, in any case and number
training_set, test-images, seg_train, TrainSet  with words that say nothing more
train2017, val_2                                with numbers
flowers_train beside flowers_test               with the same other words
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "validating", "vld", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
    "eval": ("eval", "evaluation", "evaluate"),  # validation beside a test part, otherwise the test
}
_PART_OF = {word: part for part, words in _WORDS.items() for word in words}
# Words that people add without meaning a class by them.
_EMPTY = {
    "set", "image", "img", "im", "picture", "pic", "photo", "data", "dataset", "folder", "dir", "directory", "split",
    "part", "subset", "sample", "example", "seg", "class", "classes", "cls", "classification", "partition", "the",
    "for", "of", "my", "all", "only", "final",
}  # fmt: skip
_JOINED = re.compile(
    r"(?:(?P<before>images?|imgs?|data|pics?|photos?|seg)?)"
    rf"(?P<part>{'|'.join(sorted(_PART_OF, key=len, reverse=True))})"
    r"(?P<after>sets?|datasets?|data|images?|imgs?|pics?|photos?|folder|dir|split)?"
)


@dataclass(frozen=True)
class PartName:
    """A name that speaks of a part.  part: "train", "val", "test", or "eval", which may be either of the last two.
    rest: its other words, which are no numbers and not those that say nothing."""

    part: str
    rest: frozenset[str]


@lru_cache(maxsize=4096)
def part_name(name: str) -> PartName | None:
    """What a name says of a part, or None where it speaks of none or of several ("train_val" is training)."""
    text = unicodedata.normalize("NFKC", name)
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)  # TrainSet, but tEsT is one word
    return _of_words(apart.casefold()) or _of_words(text.casefold())


def _of_words(text: str) -> PartName | None:
    text = re.sub(r"h[eo]ld[\W_]*out", "holdout", text).replace("trainval", "train")
    parts, rest = set(), set()
    for word in re.findall(r"[^\W\d_]+", text):
        part = _PART_OF.get(word) or _PART_OF.get(word.removesuffix("s"))
        if part is None and (joined := _JOINED.fullmatch(word)):
            part = _PART_OF[joined["part"]]
        if part is not None:
            parts.add(part)
        elif word not in _EMPTY and word.removesuffix("s") not in _EMPTY:
            rest.add(word)
    if parts == {"train", "val"}:
        parts = {"train"}
    return PartName(parts.pop(), frozenset(rest)) if len(parts) == 1 else None


def part_of_value(value: str) -> str | None:
    """The part that a cell of a table names, or None."""
    found = part_name(value)
    if found is None or found.rest:
        return None
    return "test" if found.part == "eval" else found.part
