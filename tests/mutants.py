"""Damaged copies of files of variables, and a process that reads them one after the other and tells how each went.

The damage follows from seeds alone. Native code that crashes takes its process along, so that the reading is done in
one of its own: ``python -m tests.mutants SUBJECTS [forked]``, which ends itself when a single mutant takes too long.
"""

import faulthandler
import json
import pathlib
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

import checkpoints
from checkpoints import hdf5_process
from tests import forked_hdf5
from tests.process_memory import peak

SECONDS = 20  # for one mutant; they take milliseconds
Variables = Mapping[str, np.ndarray]


def _run(data: bytes, random: random.Random, longest: int = 600) -> tuple[int, int]:
    """Beginning and end of a piece of the data, short ones as likely as long ones."""
    length = min(len(data), int(2 ** random.uniform(0, np.log2(longest))))
    start = random.randrange(len(data) - length + 1)
    return start, start + length


def flip_a_bit(data: bytes, donor: bytes, random: random.Random) -> bytes:
    changed = bytearray(data)
    changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def flip_bits_at_an_end(data: bytes, donor: bytes, random: random.Random) -> bytes:
    """Up to four in the first or the last 500 bytes, where most formats describe themselves."""
    changed, side = bytearray(data), random.choice((1, -1))
    for _ in range(random.randint(1, 4)):
        place = random.randrange(min(500, len(data)))
        changed[place if side > 0 else -1 - place] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(data: bytes, donor: bytes, random: random.Random) -> bytes:
    return data[: random.choice((random.randrange(len(data)), len(data) - random.randint(1, 60)))]


def extend(data: bytes, donor: bytes, random: random.Random) -> bytes:
    start, end = _run(donor, random)
    return data + random.choice((bytes(end - start), random.randbytes(end - start), donor[start:end], data, donor))


def zero_a_run(data: bytes, donor: bytes, random: random.Random) -> bytes:
    start, end = _run(data, random)
    return data[:start] + bytes(end - start) + data[end:]


def overwrite_a_run(data: bytes, donor: bytes, random: random.Random) -> bytes:
    start, end = _run(data, random, 20)
    return data[:start] + random.choice((b"\xff" * (end - start), random.randbytes(end - start))) + data[end:]


def duplicate_a_run(data: bytes, donor: bytes, random: random.Random) -> bytes:
    start, end = _run(data, random)
    return data[:end] + data[start:end] * random.randint(1, 3) + data[end:]


def remove_a_run(data: bytes, donor: bytes, random: random.Random) -> bytes:
    start, end = _run(data, random)
    return data[:start] + data[end:]


def swap_blocks(data: bytes, donor: bytes, random: random.Random) -> bytes:
    """Two of equal length change places; of 512 bytes each, as in a tar file, or of any."""
    size = min(512 if random.random() < 0.5 else random.randint(1, 300), len(data) // 4)
    one, other = sorted(random.sample(range(len(data) // size), 2))
    blocks = [data[i : i + size] for i in range(0, len(data), size)]
    blocks[one], blocks[other] = blocks[other], blocks[one]
    return b"".join(blocks)


def splice(data: bytes, donor: bytes, random: random.Random) -> bytes:
    """The beginning of one file and the end of the other."""
    cut = random.randrange(min(len(data), len(donor)))
    return data[:cut] + donor[cut:]


def transplant(data: bytes, donor: bytes, random: random.Random) -> bytes:
    """A piece of the other file in the place of one of this, or at any place."""
    start, end = _run(donor, random, 4000)
    place = random.choice((start, random.randrange(len(data))))
    return data[:place] + donor[start:end] + data[place + end - start :]


MUTATORS = (
    flip_a_bit,
    flip_bits_at_an_end,
    truncate,
    extend,
    zero_a_run,
    overwrite_a_run,
    duplicate_a_run,
    remove_a_run,
    swap_blocks,
    splice,
    transplant,
)


class Subject(NamedTuple):
    """A file to be damaged.

    Attributes:
        folder: Holds the folder ``right`` with what the source consists of, and the folder ``donor`` with the same
            of another, whose file gives the pieces that are put into this.
        file: Name of the file that is damaged.
        path: Name of what is opened.
        each: Mutants per mutator.
    """

    folder: pathlib.Path
    file: str
    path: str
    each: int


def mutants(data: bytes, donor: bytes, each: int, seed: str) -> Iterator[tuple[Callable, bytes]]:
    """Yield so many mutants of every mutator, each different from both files."""
    for mutator in MUTATORS:
        made = 0
        choose = random.Random(f"{seed} {mutator.__name__}")
        while made < each:
            mutant = mutator(data, donor, choose)
            if mutant not in (data, donor):
                made += 1
                yield mutator, mutant


def _same(found: np.ndarray | None, expected: np.ndarray) -> bool:
    return (
        found is not None
        and (found.dtype, found.shape) == (expected.dtype, expected.shape)
        and found.tobytes() == expected.tobytes()
    )


def judge(path: pathlib.Path, right: Variables) -> tuple[str, str]:
    """Read a mutant: how that went, and the message or what is wrong.

    Returns:
        "right", "refused"; "unchecked", for wrong variables of a file that says that it has no checksums; or "WRONG".
    """
    try:
        with checkpoints.open_variables(path) as variables:
            found, checked, format = dict(variables), variables.checked, variables.format
    except checkpoints.CheckpointError as error:
        message = str(error)
        is_sentence = str(path.parent) in message and message.endswith(".") and message.isprintable()
        return "refused" if is_sentence else "WRONG", message
    except Exception as error:  # none other may come
        return "WRONG", f"{type(error).__name__}: {error}"
    if found.keys() == right.keys() and all(_same(found[name], right[name]) for name in right):
        return "right", ""
    wrong = [name for name in {**right, **found} if name not in right or not _same(found.get(name), right[name])]
    if not checked:
        return "unchecked", ", ".join(wrong)
    return "WRONG", f"{', '.join(wrong)} of a {format} with checksums"


def read_all(subject: Subject) -> Iterator[dict]:
    """Read every mutant of a subject; a line before each tells which it is, in case that the process dies of it."""
    right, donor, work = (subject.folder / name for name in ("right", "donor", "work"))
    variables = checkpoints.load_variables(right / subject.path)
    data = [(folder / subject.file).read_bytes() for folder in (right, donor)]
    assert data[0] != data[1]
    shutil.copytree(right, work)
    seed = f"{subject.folder.name} {subject.file}"
    for number, (mutator, mutant) in enumerate(mutants(*data, subject.each, seed)):
        (work / subject.file).write_bytes(mutant)
        yield {"mutant": f"{seed} {number} {mutator.__name__}"}
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        start = time.monotonic()
        outcome, message = judge(work / subject.path, variables)
        seconds = time.monotonic() - start
        faulthandler.cancel_dump_traceback_later()
        yield {"outcome": outcome, "message": message, "seconds": seconds}


def _main(subjects: str, processes: str = "started") -> None:
    if processes == "forked":
        hdf5_process.subprocess.run = forked_hdf5.run  # of this process only
    before = None
    for folder, *rest in json.loads(subjects):
        subject = Subject(pathlib.Path(folder), *rest)
        checkpoints.load_variables(subject.folder / "right" / subject.path)
        before = before or peak()
        for line in read_all(subject):
            print(json.dumps(line), flush=True)
    print(json.dumps({"megabytes": peak() - before}), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
