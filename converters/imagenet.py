"""The classes of the published models: label and WordNet id of each, from the table ``imagenet.csv``.

Class 0 is "background"; classes 1 to 1000 are ImageNet's, in the order of their WordNet ids. The label is the first of
the synset's names, as slim's list has it. The two published lists differ in two ways: slim's calls class 0 "dummy" and
has one name for each class, the other calls it "background" and has all names. Two labels name two classes each:
"crane" (135 the bird, 518 the machine) and "maillot" (639, 640), which only the WordNet ids tell apart.
"""

import csv
import functools
import pathlib
from collections.abc import Mapping

TABLE = pathlib.Path(__file__).with_name("imagenet.csv")


@functools.cache
def imagenet_labels() -> tuple[str, ...]:
    """Returns the labels of the 1001 classes, "background" first.

    Example:
        >>> imagenet_labels()[389]
        'giant panda'
    """
    return tuple(row["label"] for row in _rows())


@functools.cache
def wordnet_classes() -> Mapping[str, int]:
    """Returns ``{WordNet id: class among the 1001}`` for the 1000 classes that have one.

    Example:
        >>> wordnet_classes()["n02510455"]
        389
    """
    return {row["wordnet_id"]: int(row["index"]) for row in _rows() if row["wordnet_id"]}


def _rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
