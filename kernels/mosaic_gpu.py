"""The part of Pallas Mosaic GPU that xfm's Hopper kernels use, under names of our own; imported where one is traced.

The API underneath is declared unstable, so its names stand in this file alone: it was compiled with jax 0.11 and 0.12.
A kernel is a function of one namespace of references (inputs, outputs, scratch) that every warpgroup of a thread block
runs; matrices in registers are float32 in the layout of wgmma's accumulators.

Interpreted (`platform.interpreting`), the same kernel runs on a CPU with its barriers, copies and threads simulated;
only the matrix product is a plain one of the operands as loaded: the simulation has no accumulators that change.
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
    """How kernels run on a CPU, for `platform.interpreting`; options: detect_races=True and others of Pallas."""
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
    """Runs body(refs) in thread blocks over the grid; `place` tells a block and a warpgroup where they stand."""
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
    """Shared memory for matrices (the last two axes) as wgmma reads them: tiles of 8 rows of `swizzle` bytes.

    The length that a product sums over is a multiple of the numbers in those bytes.
    """
    tile = (8, swizzle // jnp.dtype(dtype).itemsize)
    return plgpu.SMEM(shape, dtype, transforms=(plgpu.TilingTransform(tile), plgpu.SwizzleTransform(swizzle)))


def vectors(shape: tuple[int, ...], dtype):
    """Shared memory in plain order."""
    return plgpu.SMEM(shape, dtype)


def barriers(count: int, arrivals: int = 1):
    """Barriers that open after so many arrivals; each copy into shared memory arrives once."""
    return plgpu.Barrier(num_barriers=count, num_arrivals=arrivals)


def barrier(arrivals: int):
    """A single barrier."""
    return plgpu.Barrier(num_arrivals=arrivals)


wait = plgpu.barrier_wait
arrive = plgpu.barrier_arrive
fetch = plgpu.copy_gmem_to_smem


def send(shared, device) -> None:
    """Begins to copy what this warpgroup wrote to shared memory out to device memory; rows past the end are dropped."""
    plgpu.copy_smem_to_gmem(shared, device)


def publish() -> None:
    """Makes this warpgroup's writes to shared memory visible to the copy engine and the tensor cores."""
    plgpu.commit_smem()


def sent() -> None:
    """Waits until everything that was sent has been read out of shared memory."""
    plgpu.wait_smem_to_gmem(0, wait_read_only=True)


def registers(count: int, action: str) -> None:
    """Gives back ("decrease") or takes ("increase") registers, to `count` per thread of this warpgroup."""
    plgpu.set_max_registers(count, action=action)


def full(shape: tuple[int, ...], value: float, axis: int | None = None) -> jax.Array:
    """A matrix of one value; with `axis`, a vector as reducing a matrix over that axis gives it."""
    layout = _MATRIX if axis is None else _MATRIX.reduce(axis)
    return plgpu.layout_cast(jnp.full(shape, value, jnp.float32), layout)


def index(shape: tuple[int, int], axis: int, start) -> jax.Array:
    """start + the row (axis 0) or column (axis 1) of each place of a matrix.

    Made where it is used: moved out of a loop, the numbers of all columns would fill registers.
    """
    numbers = plgpu.broadcasted_iota(jnp.int32, (shape[axis],), 0, layout=_MATRIX.reduce(1 - axis)) + start
    return broadcast(*settle(numbers), shape, axis)


def along(ref, axis: int) -> jax.Array:
    """A vector of shared memory whose places are those of a matrix along `axis`, to be broadcast over the other."""
    return plgpu.load(ref, layout=_MATRIX.reduce(1 - axis))


def broadcast(vector: jax.Array, shape: tuple[int, int], axis: int) -> jax.Array:
    """The matrix whose entries along `axis` are the vector's."""
    return lax.broadcast_in_dim(vector, shape, (axis,))


def matrix(ref) -> jax.Array:
    """A float32 matrix of shared memory."""
    return plgpu.load(ref, layout=_MATRIX, optimized=False)


def transposed(ref):
    """The reference read the other way round."""
    return ref.transpose((1, 0)) if hasattr(ref, "transpose") else plgpu.transpose_ref(ref, (1, 0))


def _value(operand):
    return (operand[...] if hasattr(operand, "at") and not isinstance(operand, jax.Array) else operand).astype(
        jnp.float32
    )


def product(a, b, while_waiting: Callable[[], None] | None = None) -> jax.Array:
    """a @ b of matrices in shared memory (a may be in registers). while_waiting runs once the product is under way."""
    shape = (a.shape[0], b.shape[1])
    if interpreted():
        result = jnp.matmul(_value(a), _value(b))
        publish()  # the tensor cores read as the copy engine writes; these loads of ordinary threads do not
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
    """total + a @ b, added up where total stands."""
    if interpreted():
        return total + product(a, b)
    return pl.run_state(lambda accumulator: plgpu.wgmma(accumulator, a, b))(plgpu.ACC.init(total))


def two_products(one, other, between: Callable):
    """between(a @ b) and c @ d, of one = (a, b) and other = (c, d); `between` runs while the second is under way."""
    if interpreted():
        return between(product(*one)), product(*other)

    def compute(first, second):
        plgpu.wgmma(first, *one)
        plgpu.wgmma(second, *other)
        return between(plgpu.wgmma_accumulator_load(first, wait_n=1)), second[...]

    shapes = ((a.shape[0], b.shape[1]) for a, b in (one, other))
    return pl.run_scoped(compute, *(plgpu.ACC(shape, jnp.float32) for shape in shapes))


def settle(*values):
    """Keeps the compiler from moving what computes these past this line, or what follows from them out of a loop."""
    return lax.optimization_barrier(values)
