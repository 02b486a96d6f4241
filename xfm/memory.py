"""The memory of this machine, by which arrays that cannot fit are refused before they are made."""

import os
from pathlib import Path

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # files with a container's limit


def host_memory() -> int:
    """The bytes of main memory that this process can use: the machine's, or its container's limit."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, LIMITS):
        text = file.read_text().strip() if file.is_file() else ""
        sizes += [int(text)] if text.isdecimal() else []
    return min(sizes)


def in_bytes(number: int) -> str:
    """A number of bytes in words, such as "1.5 GB" (powers of ten)."""
    for unit, size in (("PB", 10**15), ("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}" if number < 10**18 else f"{number / size:.1e} {unit}"
    return f"{number / 1000:.1f} kB"
