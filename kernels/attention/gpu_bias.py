"""Attention on Hopper, backward for a bias: the sums of ds over all scores that share a number, in a fixed order.

A dense bias of one row for the whole batch gets, for each block of scores, the sum over rows. A bias that is a function
of key - query gets the sum over rows and over the blocks along a diagonal, [rows, columns] each, and what remains is to
sum their diagonals (`gpu_blocks.diagonals`).
"""

import jax
import jax.numpy as jnp
from jax import lax

from .. import mosaic_gpu as gpu
from .gpu_backward import score_gradient, weights_of
from .gpu_parts import (
    Places,
    Plan,
    Ring,
    Tiling,
    head_numbers,
    run,
    setting,
    unravel,
    walk,
    wide_slice,
)


def bands(lengths: tuple[int, int], tiling: Tiling) -> tuple[int, int, int]:
    """(bands, ratio, shift) for a bias of key - query: block (i, j) of queries and keys is in band j - ratio·i + shift,
    whose scores are at key - query = columns · (band - shift) + c - r."""
    parts, blocks = -(-lengths[0] // tiling.rows), -(-lengths[1] // tiling.columns)
    ratio = tiling.rows // tiling.columns
    shift = (parts - 1) * ratio
    return blocks + shift, ratio, shift


def biases(plan: Plan, tiling: Tiling, arrays: dict, share: int) -> jax.Array:
    """Sums of ds, each over `share` rows of the batch: [B / share, N, blocks, rows, columns] in float32.

    blocks: for a line the bands; for a dense bias, blocks of queries by blocks of keys. arrays: as for `queries`.
    """
    q, dtype = arrays["q"], arrays["q"].dtype
    B, (N, H) = q.shape[0], (plan.heads[0], plan.width)
    tall, rows, columns = gpu.ROWS, tiling.rows, tiling.columns
    C, stages = tiling.workers, tiling.stages
    shape = (tall, columns)
    parts, blocks_of_keys = -(-plan.lengths[0] // rows), -(-plan.lengths[1] // columns)
    dense = plan.bias == "dense"
    has_wide = plan.bias in ("line", "dense")
    band_count, ratio, shift = bands(plan.lengths, tiling)
    bands_or_blocks = parts * blocks_of_keys if dense else band_count
    tiles = (B // share) * N * bands_or_blocks

    def steps(refs, tile):
        """The tile's place, how many steps it takes, and (row, block of queries, block of keys) of a step."""
        group, n, band = unravel(tile, (B // share, N, bands_or_blocks))
        if dense:
            i, j = unravel(band, (parts, blocks_of_keys))
            low, count = i, jnp.int32(1)
            key_block = lambda _: j  # noqa: E731
        else:
            ahead = band - shift  # of blocks: keys minus ratio times queries
            low = lax.div(jnp.maximum(-ahead, 0) + (ratio - 1), jnp.int32(ratio))
            high = jnp.minimum(parts, lax.div(blocks_of_keys - 1 - ahead + ratio, jnp.int32(ratio)))
            count = jnp.maximum(high - low, 0)
            key_block = lambda i: ahead + ratio * i  # noqa: E731

        def at(step):
            i = low + lax.rem(step, jnp.maximum(count, 1))
            b = group * share + lax.div(step, jnp.maximum(count, 1))
            j = key_block(i)
            row = b if refs.spans.shape[0] > 1 else jnp.int32(0)
            visited = (refs.spans[row, i, 0] <= j) & (j < refs.spans[row, i, 3])
            whole = (refs.spans[row, i, 1] <= j) & (j < refs.spans[row, i, 2])
            return b, i, j, visited, whole

        return group, n, band, count * share, at

    def compute(refs, worker, blocks):
        left, right = Ring(tiling, refs.left_ready, refs.left_free), Ring(tiling, refs.right_ready, refs.right_free)
        offset = setting(plan, refs)

        def one(turn, tile, done):
            group, n, band, number, at_step = steps(refs, tile)
            slope, seed = head_numbers(plan, refs, n)

            def step(s, carry):
                b, i, j, visited, whole = at_step(s)

                def visit(carry):
                    count, total = carry
                    at = left.take(count)
                    right.take(count)
                    lse, delta = (gpu.along(ref.at[at, worker], 0) for ref in (refs.lse_ring, refs.delta_ring))
                    wide = gpu.matrix(refs.wide_ring.at[at, worker]) if has_wide else None
                    q_marks, k_marks = (
                        (gpu.along(refs.q_marks.at[at, worker], 0), gpu.along(refs.k_marks.at[at], 1))
                        if plan.marks
                        else (None, None)
                    )
                    places = Places(
                        plan,
                        lambda: gpu.index(shape, 0, i * rows + worker * tall + offset),
                        lambda: gpu.index(shape, 1, j * columns),
                        lambda: gpu.spread(q_marks, shape, 0),
                        lambda: gpu.spread(k_marks, shape, 1),
                    )
                    products = gpu.product(refs.q_ring.at[at, worker], gpu.transposed(refs.k_ring.at[at]))
                    p, slant = weights_of(plan, products, places, slope, wide, gpu.spread(lse, shape, 0), whole)
                    dp = gpu.product(refs.do_ring.at[at, worker], gpu.transposed(refs.v_ring.at[at]))
                    keep = places.kept(seed, b, n) if plan.dropout else None
                    ds = score_gradient(plan, p, dp, gpu.spread(delta, shape, 0), slant, keep)
                    gpu.publish()  # vectors were read by ordinary loads: done before the copy engine overwrites them
                    left.give_back(count)
                    right.give_back(count)
                    return count + 1, total + ds

                return lax.cond(visited, visit, lambda carry: carry, carry)

            done, total = lax.fori_loop(0, number, step, (done, gpu.full(shape, 0.0)))
            refs.sums.at[group, n, band, gpu.ds(worker * tall, tall), :][...] = total
            return done

        walk(blocks, tiles, one, jnp.int32(0))

    def copy(refs, blocks):
        left, right = Ring(tiling, refs.left_ready, refs.left_free), Ring(tiling, refs.right_ready, refs.right_free)

        def one(turn, tile, done):
            _, n, _, number, at_step = steps(refs, tile)
            head = lax.div(n, jnp.int32(plan.group))

            def step(s, count):
                b, i, j, visited, _ = at_step(s)

                @gpu.when(visited)
                def _():
                    def fetch_left(at, barrier):
                        for worker in range(C):
                            row = i * rows + worker * tall
                            place = gpu.ds(row, tall)
                            gpu.fetch(refs.q.at[b, place, n], refs.q_ring.at[at, worker], barrier)
                            gpu.fetch(refs.do.at[b, place, n], refs.do_ring.at[at, worker], barrier)
                            gpu.fetch(refs.lse.at[b, n, place], refs.lse_ring.at[at, worker], barrier)
                            gpu.fetch(refs.delta.at[b, n, place], refs.delta_ring.at[at, worker], barrier)
                            if plan.marks:
                                gpu.fetch(refs.q_ids.at[b, place], refs.q_marks.at[at, worker], barrier)
                            if has_wide:
                                block = wide_slice(plan, refs, b, n, row, j * columns, *shape, queries="rows")
                                gpu.fetch(block, refs.wide_ring.at[at, worker], barrier)

                    def fetch_right(at, barrier):
                        place = gpu.ds(j * columns, columns)
                        gpu.fetch(refs.k.at[b, place, head], refs.k_ring.at[at], barrier)
                        gpu.fetch(refs.v.at[b, place, head], refs.v_ring.at[at], barrier)
                        if plan.marks:
                            gpu.fetch(refs.k_ids.at[b, place], refs.k_marks.at[at], barrier)

                    left.fill(count, fetch_left)
                    right.fill(count, fetch_right)

                return count + visited.astype(jnp.int32)

            return lax.fori_loop(0, number, step, done)

        _, done = walk(blocks, tiles, one, jnp.int32(0))
        left.drain(done)
        right.drain(done)

    scratch = dict(
        q_ring=gpu.matrices((stages, C, tall, H), dtype),
        do_ring=gpu.matrices((stages, C, tall, H), dtype),
        lse_ring=gpu.vectors((stages, C, tall), jnp.float32),
        delta_ring=gpu.vectors((stages, C, tall), jnp.float32),
        k_ring=gpu.matrices((stages, columns, H), dtype),
        v_ring=gpu.matrices((stages, columns, H), dtype),
        left_ready=gpu.barriers(stages, C * (4 + plan.marks + has_wide)),
        left_free=gpu.barriers(stages, C),
        right_ready=gpu.barriers(stages, 2 + plan.marks),
        right_free=gpu.barriers(stages, C),
    )
    if plan.marks:
        scratch["q_marks"] = gpu.vectors((stages, C, tall), jnp.int32)
        scratch["k_marks"] = gpu.vectors((stages, columns), jnp.int32)
    if has_wide:
        scratch["wide_ring"] = gpu.matrices((stages, C, tall, columns), jnp.float32)
    outputs = dict(sums=jax.ShapeDtypeStruct((B // share, N, bands_or_blocks, rows, columns), jnp.float32))
    return run("attention_dbias", plan, tiling, arrays, outputs, scratch, tiles, compute, copy)["sums"]
