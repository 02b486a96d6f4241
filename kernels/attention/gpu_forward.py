"""Attention on Hopper, forward: FlashAttention's running softmax (Dao 2023), normalised last."""

import jax
import jax.numpy as jnp
from jax import lax

from .. import mosaic_gpu as gpu
from .gpu_parts import (
    ALIGN,
    Places,
    Plan,
    Resident,
    Ring,
    Tiling,
    Turns,
    head_numbers,
    logits,
    run,
    setting,
    span,
    unravel,
    walk,
    wide_slice,
)


def forward(plan: Plan, tiling: Tiling, arrays: dict) -> tuple[jax.Array, jax.Array]:
    """y [B T N H] and log2 of the sum of exponentials [B N Tp], -inf where nothing is visible.

    arrays: q, k, v, spans and, as the plan says, q_ids, k_ids, offset, slopes, wide, seed.
    """
    q, dtype = arrays["q"], arrays["q"].dtype
    B, (N, H) = q.shape[0], (plan.heads[0], plan.width)
    tall, rows, columns = gpu.ROWS, tiling.rows, tiling.columns
    C, slots, stages = tiling.workers, tiling.slots, tiling.stages
    shape = (tall, columns)
    parts = -(-plan.lengths[0] // rows)
    has_wide = plan.bias in ("line", "dense")

    def compute(refs, worker, blocks):
        own = Resident(tiling, refs.own_ready, refs.own_free)
        keys, values = Ring(tiling, refs.k_ready, refs.k_free), Ring(tiling, refs.v_ready, refs.v_free)
        turns = Turns(tiling, getattr(refs, "turn", None), worker)
        offset = setting(plan, refs)

        def one(turn, tile, done):
            b, n, i = unravel(tile, (B, N, parts))
            first, whole, ragged, last = span(refs, b, i)
            slope, seed = head_numbers(plan, refs, n)
            start = i * rows + worker * tall
            slot = own.take(turn, worker)
            q_own = refs.q_own.at[slot, worker]
            q_marks = gpu.along(refs.q_marks.at[slot, worker], 0) if plan.marks else None

            def step(j, carry):
                total, top, weight = carry
                count = done + j - first
                at = keys.take(count)
                products = gpu.product(q_own, gpu.transposed(refs.k_ring.at[at]), while_waiting=turns.swap)
                own.release((turn > 0) & (j == first), turn - 1, worker)
                k_marks = gpu.along(refs.k_marks.at[at], 1) if plan.marks else None
                wide = gpu.matrix(refs.wide_ring.at[at, worker]) if has_wide else None
                if plan.marks or has_wide:
                    gpu.publish()  # these were read by ordinary loads: done before the copy engine overwrites them
                keys.give_back(count)
                places = Places(
                    plan,
                    lambda: gpu.index(shape, 0, start + offset),
                    lambda: gpu.index(shape, 1, j * columns),
                    lambda: gpu.spread(q_marks, shape, 0),
                    lambda: gpu.spread(k_marks, shape, 1),
                )
                x, factor, _ = logits(plan, products, places, slope, wide)
                x = lax.cond((j >= whole) & (j < ragged), lambda x: x, places.hide, x)
                higher = jnp.maximum(top, x.max(axis=1) * factor)
                level = jnp.where(higher == -jnp.inf, 0.0, higher)
                decay = jnp.exp2(top - level)
                p = jnp.exp2(x * factor - gpu.spread(level, shape, 0))
                weight = weight * decay + p.sum(axis=1)
                if plan.dropout:
                    p = jnp.where(places.kept(seed, b, n), p, 0.0)
                total = total * gpu.spread(decay, (tall, H), 0)
                p = p.astype(dtype)
                total, weight, p = gpu.settle(total, weight, p)
                turns.arrive()
                at = values.take(count)
                turns.wait()
                total = gpu.add_product(total, p, refs.v_ring.at[at])
                values.give_back(count)
                return total, higher, weight

            turns.begin()
            zero = gpu.full((tall, H), 0.0), gpu.full((tall,), -jnp.inf, 1), gpu.full((tall,), 0.0, 1)
            total, top, weight = lax.fori_loop(first, last, step, zero)
            own.release((turn > 0) & (first == last), turn - 1, worker)
            norm = jnp.where(weight == 0.0, 0.0, 1.0 / (weight * (1.0 - plan.dropout)))
            q_own[...] = (total * gpu.spread(norm, (tall, H), 0)).astype(dtype)
            refs.lse_own.at[slot, worker][...] = top + jnp.log2(weight)
            gpu.publish()
            gpu.send(q_own, refs.y.at[b, gpu.ds(start, tall), n])
            gpu.send(refs.lse_own.at[slot, worker], refs.lse.at[b, n, gpu.ds(start, tall)])
            turns.end()
            return done + last - first

        walk(blocks, B * N * parts, one, jnp.int32(0))
        gpu.sent()

    def copy(refs, blocks):
        own = Resident(tiling, refs.own_ready, refs.own_free)
        keys, values = Ring(tiling, refs.k_ready, refs.k_free), Ring(tiling, refs.v_ready, refs.v_free)

        def one(turn, tile, done):
            b, n, i = unravel(tile, (B, N, parts))
            first, _, _, last = span(refs, b, i)
            head = lax.div(n, jnp.int32(plan.group))
            for worker in range(C):

                def fetch(slot, barrier, worker=worker):
                    place = gpu.ds(i * rows + worker * tall, tall)
                    gpu.fetch(refs.q.at[b, place, n], refs.q_own.at[slot, worker], barrier)
                    if plan.marks:
                        gpu.fetch(refs.q_ids.at[b, place], refs.q_marks.at[slot, worker], barrier)

                own.fill(turn, worker, fetch)

            def step(j, _):
                place = gpu.ds(j * columns, columns)

                def fetch_keys(at, barrier):
                    gpu.fetch(refs.k.at[b, place, head], refs.k_ring.at[at], barrier)
                    if plan.marks:
                        gpu.fetch(refs.k_ids.at[b, place], refs.k_marks.at[at], barrier)
                    for worker in range(C if has_wide else 0):
                        block = wide_slice(
                            plan, refs, b, n, i * rows + worker * tall, j * columns, *shape, queries="rows"
                        )
                        gpu.fetch(block, refs.wide_ring.at[at, worker], barrier)

                keys.fill(done + j - first, fetch_keys)
                values.fill(
                    done + j - first,
                    lambda at, barrier: gpu.fetch(refs.v.at[b, place, head], refs.v_ring.at[at], barrier),
                )
                return ()

            lax.fori_loop(first, last, step, ())
            return done + last - first

        turns, done = walk(blocks, B * N * parts, one, jnp.int32(0))
        own.drain(turns)
        keys.drain(done)
        values.drain(done)

    scratch = dict(
        q_own=gpu.matrices((slots, C, tall, H), dtype),
        lse_own=gpu.vectors((slots, C, tall), jnp.float32),
        k_ring=gpu.matrices((stages, columns, H), dtype),
        v_ring=gpu.matrices((stages, columns, H), dtype),
        own_ready=gpu.barriers(slots * C, 1 + plan.marks),
        own_free=gpu.barriers(slots * C),
        k_ready=gpu.barriers(stages, 1 + plan.marks + C * has_wide),
        k_free=gpu.barriers(stages, C),
        v_ready=gpu.barriers(stages),
        v_free=gpu.barriers(stages, C),
    )
    if tiling.turns and C == 2:
        scratch["turn"] = gpu.barrier(2)
    if plan.marks:
        scratch["q_marks"] = gpu.vectors((slots, C, tall), jnp.int32)
        scratch["k_marks"] = gpu.vectors((stages, columns), jnp.int32)
    if has_wide:
        scratch["wide_ring"] = gpu.matrices((stages, C, tall, columns), jnp.float32)
    T_padded = -(-plan.lengths[0] // ALIGN) * ALIGN
    outputs = dict(
        y=jax.ShapeDtypeStruct(q.shape, dtype),
        lse=jax.ShapeDtypeStruct((B, N, T_padded), jnp.float32),
    )
    out = run("attention_forward", plan, tiling, arrays, outputs, scratch, B * N * parts, compute, copy)
    return out["y"], out["lse"]
