"""How much memory this machine has, so that what cannot fit is refused by arithmetic before it is made."""

import os
from pathlib import Path

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container, if it has one


def host_memory() -> int:
    """Bytes of main memory that this process may use at most: the machine's, or its container's."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, LIMITS):
        text = file.read_text().strip() if file.is_file() else ""
        sizes += [int(text)] if text.isdecimal() else []
    return min(sizes)


def in_bytes(number: int) -> str:
    """`1.5 GB`, in powers of ten."""
    for unit, size in (("PB", 10**15), ("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}" if number < 10**18 else f"{number / size:.1e} {unit}"
    return f"{number / 1000:.1f} kB"
