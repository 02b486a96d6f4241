"""The part of Pallas Mosaic GPU that xfm's Hopper kernels use, under xfm's own names; imported when one is traced.

The underlying API is declared unstable, so its names are used in this file only; it was compiled with jax 0.11 and
0.12. A kernel is a function of one namespace of references (inputs, outputs, scratch), which every warpgroup of a
thread block runs. Matrices in registers are float32, in the layout of wgmma's accumulators.

With `platform.interpreting` the same kernel runs on a CPU, which simulates its barriers, copies and threads. Only
matrix products differ: they are computed from the operands as loaded, since the simulation has no accumulators.
"""

import types
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from .platform import interpreted

ds = pl.ds
when = pl.when
_MATRIX = plgpu.Layout.WGMMA


def simulation(**options):
    """The parameter `how` of `platform.interpreting`.  options: those of Pallas, such as detect_races=True."""
    return plgpu.InterpretGPUParams(**options)


def launch(
    body: Callable,
    inputs: dict[str, jax.Array],
    outputs: dict[str, jax.ShapeDtypeStruct],
    scratch: dict,
    *,
    grid: dict[str, int],
    warpgroups: int,
) -> dict[str, jax.Array]:
    """Runs body(refs) in thread blocks over a grid, and returns the outputs by name.

    inputs, outputs, scratch: by the names of their references.  grid: axis -> number of thread blocks.
    warpgroups: per thread block. `place` returns the index of a thread block or a warpgroup.
    """
    names = (*inputs, *outputs, *scratch)

    def kernel(*refs):
        body(types.SimpleNamespace(**dict(zip(names, refs, strict=True))))

    kernel.__name__ = body.__name__
    run = plgpu.kernel(
        kernel,
        out_type=tuple(outputs.values()),
        scratch_types=tuple(scratch.values()),
        grid=tuple(grid.values()),
        grid_names=tuple(grid),
        num_threads=warpgroups,
        thread_name="warpgroup",
        compiler_params=plgpu.CompilerParams(approx_math=True),
        **({"interpret": simulation() if interpreted() is True else interpreted()} if interpreted() else {}),
    )
    return dict(zip(outputs, run(*inputs.values()), strict=True))


def place(axis: str = "warpgroup") -> jax.Array:
    """The index of this thread block along an axis of the grid, or of this warpgroup."""
    return lax.axis_index(axis)


def matrices(shape: tuple[int, ...], dtype, swizzle: int = 128):
    """Shared memory for matrices (the last two axes) in the layout of wgmma: tiles of 8 rows of `swizzle` bytes.

    The contracted length of a product must be a multiple of the number of elements in `swizzle` bytes.
    """
    tile = (8, swizzle // jnp.dtype(dtype).itemsize)
    return plgpu.SMEM(shape, dtype, transforms=(plgpu.TilingTransform(tile), plgpu.SwizzleTransform(swizzle)))


def vectors(shape: tuple[int, ...], dtype):
    """Shared memory in row-major order."""
    return plgpu.SMEM(shape, dtype)


def barriers(count: int, arrivals: int = 1):
    """`count` barriers, each of which opens after `arrivals` arrivals; each copy into shared memory arrives once."""
    return plgpu.Barrier(num_barriers=count, num_arrivals=arrivals)


def barrier(arrivals: int):
    """A single barrier that opens after `arrivals` arrivals."""
    return plgpu.Barrier(num_arrivals=arrivals)


wait = plgpu.barrier_wait
arrive = plgpu.barrier_arrive
fetch = plgpu.copy_gmem_to_smem


def send(shared, device) -> None:
    """Starts a copy from shared memory, which this warpgroup wrote, to device memory; rows past its end are dropped."""
    plgpu.copy_smem_to_gmem(shared, device)


def publish() -> None:
    """Makes this warpgroup's writes to shared memory visible to the copy engine and to the tensor cores."""
    plgpu.commit_smem()


def sent() -> None:
    """Waits until all copies started by `send` have read shared memory."""
    plgpu.wait_smem_to_gmem(0, wait_read_only=True)


def registers(count: int, action: str) -> None:
    """Sets the registers per thread of this warpgroup to `count`.  action: "decrease" or "increase"."""
    plgpu.set_max_registers(count, action=action)


def full(shape: tuple[int, ...], value: float, axis: int | None = None) -> jax.Array:
    """A matrix filled with `value`; with `axis`, a vector in the layout of a matrix reduced over that axis."""
    layout = _MATRIX if axis is None else _MATRIX.reduce(axis)
    return plgpu.layout_cast(jnp.full(shape, value, jnp.float32), layout)


def index(shape: tuple[int, int], axis: int, start) -> jax.Array:
    """start + the row number (axis 0) or column number (axis 1) of each entry of a matrix.

    It is kept inside the loop that uses it, since the numbers of all columns would otherwise occupy registers.
    """
    numbers = plgpu.broadcasted_iota(jnp.int32, (shape[axis],), 0, layout=_MATRIX.reduce(1 - axis)) + start
    return broadcast(*settle(numbers), shape, axis)


def along(ref, axis: int) -> jax.Array:
    """A vector of shared memory in the layout of a matrix along `axis`, ready for `broadcast` over the other axis."""
    return plgpu.load(ref, layout=_MATRIX.reduce(1 - axis))


def broadcast(vector: jax.Array, shape: tuple[int, int], axis: int) -> jax.Array:
    """The matrix whose entries along `axis` are those of the vector, and constant along the other axis."""
    return lax.broadcast_in_dim(vector, shape, (axis,))


def matrix(ref) -> jax.Array:
    """A float32 matrix of shared memory."""
    return plgpu.load(ref, layout=_MATRIX, optimized=False)


def transposed(ref):
    """The transposed reference."""
    return ref.transpose((1, 0)) if hasattr(ref, "transpose") else plgpu.transpose_ref(ref, (1, 0))


def _value(operand):
    return (operand[...] if hasattr(operand, "at") and not isinstance(operand, jax.Array) else operand).astype(
        jnp.float32
    )


def product(a, b, while_waiting: Callable[[], None] | None = None) -> jax.Array:
    """a @ b for matrices in shared memory (a may be in registers).  while_waiting: runs while it is computed."""
    shape = (a.shape[0], b.shape[1])
    if interpreted():
        result = jnp.matmul(_value(a), _value(b))
        publish()  # tensor cores would read in the copy engine's proxy; these loads of ordinary threads do not
        if while_waiting is not None:
            while_waiting()
        return result

    def compute(accumulator):
        plgpu.wgmma(accumulator, a, b)
        if while_waiting is not None:
            while_waiting()
        return accumulator[...]

    return pl.run_scoped(compute, plgpu.ACC(shape, jnp.float32))


def add_product(total: jax.Array, a, b) -> jax.Array:
    """total + a @ b, accumulated in the registers of `total`."""
    if interpreted():
        return total + product(a, b)
    return pl.run_state(lambda accumulator: plgpu.wgmma(accumulator, a, b))(plgpu.ACC.init(total))


def two_products(one, other, between: Callable):
    """between(a @ b) and c @ d, for one = (a, b) and other = (c, d); `between` runs during the second product."""
    if interpreted():
        return between(product(*one)), product(*other)

    def compute(first, second):
        plgpu.wgmma(first, *one)
        plgpu.wgmma(second, *other)
        return between(plgpu.wgmma_accumulator_load(first, wait_n=1)), second[...]

    shapes = ((a.shape[0], b.shape[1]) for a, b in (one, other))
    return pl.run_scoped(compute, *(plgpu.ACC(shape, jnp.float32) for shape in shapes))


def settle(*values):
    """The values themselves, behind a barrier over which the compiler moves no computation."""
    return lax.optimization_barrier(values)
