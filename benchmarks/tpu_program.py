"""The cost of a whole program compiled for a TPU: the bundles of all its operations, and the bytes that they move.

Both are read from the compiler's dumps (see bundles.py), which hold the bundles of every operation and the program's
text.
"""

import glob
import math
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

# Of HBM, from the published GB/s and GHz; of a v5p for one of the two cores that share it.
BYTES_A_CYCLE = {"v5e": 819 / 1.5, "v5p": 2765 / 2 / 1.75, "v6e": 1640 / 1.75}
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4}
FREE = "parameter constant bitcast tuple get-tuple-element after-all while".split()
UNREAD = "AllocateBuffer", "ConcatBitcast", "NopReturnToken"  # custom calls that move no data
MOVES = "copy-start slice-start dynamic-slice-start dynamic-update-slice-start".split()  # asynchronous copies
REFUSED = "-start", "conditional", " call"


class Array(NamedTuple):
    size: int  # bytes, including the padding of tiles
    in_hbm: bool


def cycles(folder: str) -> int:
    """The bundles of the program that was dumped to `folder`, each times the iterations of the loops around it.

    All branches count as taken; a loop whose number of iterations is not known to the compiler counts once.
    """
    programs, shared = _programs(folder), _shared(folder)
    lengths = {name: sum(times for _, times in _executed(path)) for name, path in programs.items() if name != "TLP"}
    total = 0
    for line, times in _executed(programs["TLP"], [rounds for *_, rounds in _instructions(folder) if rounds]):
        called = re.search(r"inlined_call [^/]*/\* %(\S+) = ", line)
        total += times * (1 + (lengths[shared.get(called[1], called[1])] if called else 0))
    return total


def traffic(folder: str) -> int:
    """The bytes that the program's operations read from HBM and write to it, including the padding of tiles.

    An array counts once for each operation that reads it, even if the operation fetches it repeatedly.
    """
    total = 0
    for times, line, kind, result, operands, _ in _instructions(folder):
        if kind in MOVES:
            update = kind == "dynamic-update-slice-start"
            moved = operands[1] if update else result[0 if kind == "copy-start" else len(operands)]
            ends = (moved, result[0]) if update else (moved, operands[0])
            total += times * moved.size * sum(end.in_hbm for end in ends)
        elif kind.endswith(REFUSED) and kind != "custom-call-start":
            raise NotImplementedError(f"the bytes of {kind}")
        elif kind not in FREE and not kind.endswith(("-start", "-done")) and not any(name in line for name in UNREAD):
            total += times * sum(array.size for array in result + operands if array.in_hbm)
    return total


def _programs(folder: str) -> dict[str, str]:
    """The file of the final bundles of each operation; TLP is the program that calls the operations."""
    files = glob.glob(f"{folder}/*-final_bundles.txt")
    return {re.match(r"\d+-(.*)-\d+-final", os.path.basename(file))[1]: file for file in files}


def _shared(folder: str) -> dict[str, str]:
    """Operation -> the operation whose program it shares."""
    (file,) = glob.glob(f"{folder}/*-TLP-00-deduplication-map.txt")
    shared, key = {}, ""
    for line in open(file):
        if line.startswith("key:"):
            key = line[4:].strip()
        elif line.startswith("  "):
            shared[line.strip()] = key
    return shared


def _executed(path: str, known: list[int] | None = None) -> list[tuple[str, int]]:
    """The bundles of a file, and how often each runs.

    known: the iterations of its loops, if the bundles do not show them.
    """
    bundles = []  # (whether a loop begins, its depth of nesting, the iterations if a loop ends here, the text)
    for line in open(path):
        if at := re.match(r"\s*(?:0x[0-9a-f]+|0)\s+(\w\w)?\s*:\s*(>*)", line):
            ends = re.search(r"scmp\.\w+[\w.]* %\w+, (\d+) /\* loop exit test", line)
            bundles.append((at[1] == "LB", len(at[2]), int(ends[1]) if ends else None, line))
    loops = []
    for first, (begins, depth, *_) in enumerate(bundles):
        if begins:
            later = range(first + 1, len(bundles))
            end = next((i for i in later if bundles[i][0] and bundles[i][1] <= depth), len(bundles))
            loops.append((depth, first, max(i for i in range(first, end) if bundles[i][1] >= depth)))
    if known is not None and len(known) != len(loops):
        raise NotImplementedError(f"{len(loops)} loops in the bundles, {len(known)} in the program's text")
    times = [1] * len(bundles)
    for n, (depth, first, last) in enumerate(loops):
        inner = [(a, b) for d, a, b in loops if d > depth and first <= a <= last]
        own = (i for i in range(first, last + 1) if not any(a <= i <= b for a, b in inner))
        rounds = known[n] if known is not None else next((bundles[i][2] for i in own if bundles[i][2]), 1)
        for i in range(first, last + 1):
            times[i] *= rounds
    return [(line, n) for (*_, line), n in zip(bundles, times, strict=True)]


def _instructions(folder: str) -> Iterator[tuple]:
    """All instructions, including those in bodies of loops.

    Each is (how often it runs, text, kind, arrays of the result, arrays of the operands, iterations if it is a loop).
    """
    (file,) = glob.glob(f"{folder}/*-TLP-hlo.txt")
    text = open(file).read()
    bodies = {
        name: body.splitlines() for name, body in re.findall(r"^(ENTRY|%\S+) [^\n]*\{\n(.*?)^\}", text, re.M | re.S)
    }

    def walk(name, times):
        shapes = {}
        for line in bodies[name]:
            result, shape, kind, names = re.match(
                r"\s*(?:ROOT )?%(\S+) = (\(.*?\)|\S+) ([a-z][a-z-]*)\((.*?)\)(?:,|$)", line
            ).groups()
            shapes[result] = _arrays(shape)
            operands = [array for operand in re.findall(r"%([^\s,)]+)", names) for array in shapes[operand]]
            loop = re.search(r"condition=(%[^\s,]+), body=(%[^\s,]+)", line) if kind == "while" else None
            rounds = loop and _rounds(bodies[loop[1]])
            yield times, line, kind, shapes[result], operands, rounds
            if loop:
                yield from walk(loop[2], times * rounds)

    return walk("ENTRY", 1)


def _rounds(condition: list[str]) -> int:
    """The number of iterations of a loop that counts from 0: the constant that its condition compares with."""
    constants = dict(re.findall(r"%(\S+) = s32\[\]\S* constant\((\d+)\)", "\n".join(condition)))
    compared = re.search(r"compare\(%\S+, %(\S+)\), direction=LT", condition[-1])
    if compared is None or compared[1] not in constants:
        raise NotImplementedError(f"a loop with the condition {condition[-1].strip()}")
    return int(constants[compared[1]])


def _arrays(shape: str) -> list[Array]:
    """All arrays of a shape, including those of nested tuples."""
    found = []
    for kind, sizes, layout in re.findall(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?", shape):
        sizes, (order, _, where) = [int(n) for n in sizes.split(",") if n], (layout or "").partition(":")
        minor = [int(n) for n in order.split(",") if n]
        tile = re.search(r"T\(([\d,]+)\)", where)
        for i, n in zip(minor, reversed([int(n) for n in tile[1].split(",")] if tile else []), strict=False):
            sizes[i] = -(-sizes[i] // n) * n
        found.append(Array(SIZES.get(kind, 4) * math.prod(sizes), "S(" not in where))
    return found
