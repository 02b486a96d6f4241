"""What is known about a call of the Hopper kernels before its arrays, and how each kernel is cut."""

import dataclasses
import math

LOG2E = math.log2(math.e)
ALIGN = 256  # lengths of vectors and of biases are padded to this, so that any block size divides them
ROWS = 64  # rows that a worker computes: those of one wgmma
SHORT = 1024  # lengths up to which one thread block per multiprocessor computes many tiles
MULTIPROCESSORS = 132


@dataclasses.dataclass(frozen=True)
class Call:
    """What the kernels are compiled for: each value has compiled kernels of its own."""

    lengths: tuple[int, int]  # T, S
    heads: tuple[int, int]  # N, K
    width: int  # H: 64, 128 or 256
    scale: float
    before: int | None = None  # how far a query attends; causal order without a prefix is 0 after
    after: int | None = None
    marks: bool = False  # segments or a prefix, as ids of queries and keys
    prefix: bool = False  # keys that causal order does not mask
    offset: bool = False
    bias: str | None = None  # "slopes", "line" (of key - query) or "dense"
    cap: float | None = None
    dropout: float = 0.0

    @property
    def work(self) -> int:
        """How many things are computed for each score beside the softmax; each takes registers."""
        return (self.bias is not None) + (self.cap is not None) + (self.dropout > 0)

    @property
    def masked(self) -> bool:
        """Whether any mask beside the row's end may apply."""
        return self.marks or self.before is not None or self.after is not None

    @property
    def wide(self) -> bool:
        """Whether the bias is read as a matrix for each block of scores."""
        return self.bias in ("line", "dense")

    @property
    def group(self) -> int:
        """Query heads per head of keys."""
        return self.heads[0] // self.heads[1]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How a kernel is cut: each worker computes 64 rows against `columns` of the other side at a time."""

    workers: int
    columns: int
    stages: int  # slots in shared memory for the blocks that pass by
    slots: int  # slots for what a tile keeps; 2 or more if a thread block computes many tiles
    blocks: int | None  # thread blocks; None: one per tile
    turns: bool = False  # two workers alternate between matrix products and the rest (FlashAttention-3, section 3.1)

    @property
    def rows(self) -> int:
        """Rows of a tile."""
        return self.workers * ROWS


def tilings(plan: Call) -> dict[str, Tiling]:
    """The tiling of each kernel, as wide as registers (the tests assert that none spill) and shared memory allow."""
    H = plan.width
    if H == 256:
        forward = Tiling(2, 64, 2, 1, None, turns=True)
        narrow = Tiling(2, 32, 2, 1, None)
        return dict(forward=forward, dq=narrow, dkv=narrow, dbias=Tiling(1, 64, 1, 1, None))
    many = max(plan.lengths) <= SHORT and not (plan.wide and H == 128)
    slots, blocks = (2, MULTIPROCESSORS) if many else (1, None)
    forward = 64 if plan.wide or plan.work > 1 or (plan.work and plan.masked) else 128
    return dict(
        forward=Tiling(2, forward, 2, slots, blocks, turns=True),
        dq=Tiling(2, 64, 2, slots, blocks),
        dkv=Tiling(2, 64, 2, slots, blocks),
        dbias=Tiling(2, 64, 2 if H == 64 else 1, 1, None),
    )
