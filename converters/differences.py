"""One comparison of two maps by name: what is missing, left over, or different; and the text that lists it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

MOST_NAMES = 20
MOST_GROUPS = 12


class Difference(NamedTuple):
    """One name in which two maps differ.

    Attributes:
        sign: "-" missing, "+" left over, "!" different.
        name: the name in both maps.
        expected: the value that is expected; None where none is.
        found: the value that the other map has; None where it has none.
    """

    sign: str
    name: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        if self.sign == "!":
            return f"! {self.name}: expected {self.expected}, found {self.found}"
        return f"{self.sign} {self.name} {self.expected if self.sign == '-' else self.found}"


def name_only(difference: Difference) -> str:
    """Returns the line of a difference without the values."""
    return f"{difference.sign} {difference.name}"


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[Difference]:
    """Compares two maps: first the missing names, then those left over, then the different values; each by name."""
    missing = [Difference("-", name, expected[name], None) for name in sorted(expected.keys() - found.keys())]
    left_over = [Difference("+", name, None, found[name]) for name in sorted(found.keys() - expected.keys())]
    different = [
        Difference("!", name, expected[name], found[name])
        for name in sorted(expected.keys() & found.keys())
        if expected[name] != found[name]
    ]
    return missing + left_over + different


def describe(
    differing: Sequence[Difference],
    changed: str = "misshapen",
    line: Callable[[Difference], str] = str,
    most: int | None = MOST_NAMES,
) -> str:
    """Counts the differences, then lists them.

    Args:
        differing: what `differences` returned.
        changed: the word for a different value.
        line: the text of one difference.
        most: how many names to list; None for all. Where there are more, counts by scope come first.

    Returns:
        ``1 missing (-), 2 left over (+)``, and a line for each scope and each name.

    Example:
        >>> describe(differences({"a/b": 1}, {"a/c": 1}))
        '1 missing (-), 1 left over (+)\\n- a/b 1\\n+ a/c 1'
    """
    kinds = {"-": "missing", "+": "left over", "!": changed}
    counts = Counter(difference.sign for difference in differing)
    summary = ", ".join(f"{counts[sign]} {kind} ({sign})" for sign, kind in kinds.items() if counts[sign])
    names = [line(difference) for difference in differing]
    if most is None or len(names) <= most:
        return "\n".join([summary, *names])
    groups = [
        f"{count} {kinds[sign]}{group}"
        for sign in kinds
        for group, count in _groups([d.name for d in differing if d.sign == sign]).items()
    ]
    more = f"and {len(names) - most} more; --verbose lists all (or the error's `differences`)"
    return "\n".join([summary, *groups, *names[:most], more])


def _groups(names: Sequence[str]) -> dict[str, int]:
    """Counts by scope; by the last part of the name where all are in one scope."""
    scopes = {f" in {scope}": count for scope, count in by_scope(names).items()}
    kinds = Counter(f": {name.rpartition('/')[2]}" for name in names)
    return dict(kinds.most_common(MOST_GROUPS)) if len(scopes) == 1 < len(kinds) <= MOST_GROUPS else scopes


def by_scope(names: Sequence[str], most: int = MOST_GROUPS) -> dict[str, int]:
    """Returns ``{scope: count}`` of names, by as many parts of the names as give at most ``most`` scopes.

    Where even the first parts are more than that, the largest scopes are listed and the others counted together.

    Example:
        >>> by_scope(["net/a/weights", "net/a/biases", "net/b/weights"])
        {'net/a': 2, 'net/b': 1}
    """
    groups: Counter[str] = Counter()
    for depth in (1, 2, 3):
        finer = Counter("/".join(name.split("/")[:-1][:depth]) or name for name in names)
        if groups and len(finer) > most:
            break
        groups = finer
    largest = groups.most_common(most)
    rest = sum(groups.values()) - sum(count for _, count in largest)
    return dict(largest) | ({f"{len(groups) - most} other scopes": rest} if rest else {})
