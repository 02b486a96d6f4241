"""Attention on Hopper, backward. Each kernel recomputes scores and owns what it writes: no sum has an order of chance.

With p the weights, dp = dO vᵀ and delta = sum(dO · O) - d lse (a vector): ds = p · (dp - delta); dv = pᵀ dO,
dk = scale · dsᵀ q, dq = scale · ds k, and the gradient of a bias is ds itself, summed over the scores that share a
number (Dao et al. 2022, appendix B).
"""

import jax
import jax.numpy as jnp
from jax import lax

from .. import mosaic_gpu as gpu
from .gpu_parts import (
    Places,
    Plan,
    Resident,
    Ring,
    Tiling,
    head_numbers,
    logits,
    run,
    setting,
    span,
    unravel,
    walk,
    wide_slice,
)


def weights_of(plan, products, places, slope, wide, lse, whole):
    """p of a block and d score / d (scale · q·k); `whole`: nothing in it is hidden. lse is in base 2, +inf for queries
    that see nothing."""
    x, factor, slant = logits(plan, products, places, slope, wide)
    return jnp.exp2(lax.cond(whole, lambda x: x, places.hide, x) * factor - lse), slant


def score_gradient(plan, p, dp, delta, slant, keep):
    """ds with respect to scale · q·k, which is that with respect to a bias."""
    if plan.dropout:
        dp = jnp.where(keep, dp * (1.0 / (1.0 - plan.dropout)), 0.0)
    ds = p * (dp - delta)
    return ds if slant is None else ds * slant


def queries(plan: Plan, tiling: Tiling, arrays: dict) -> jax.Array:
    """dq. arrays: those of `forward`, with do [B T N H], lse and delta [B N Tp]."""
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
        offset = setting(plan, refs)

        def one(turn, tile, done):
            b, n, i = unravel(tile, (B, N, parts))
            first, whole, ragged, last = span(refs, b, i)
            slope, seed = head_numbers(plan, refs, n)
            start = i * rows + worker * tall
            slot = own.take(turn, worker)
            q_own, do_own = refs.q_own.at[slot, worker], refs.do_own.at[slot, worker]
            q_marks, lse, delta = (
                None if ref is None else gpu.along(ref.at[slot, worker], 0)
                for ref in (getattr(refs, "q_marks", None), refs.lse_own, refs.delta_own)
            )

            def step(j, dq):
                count = done + j - first
                at = keys.take(count)
                values.take(count)
                k_marks = gpu.along(refs.k_marks.at[at], 1) if plan.marks else None
                wide = gpu.matrix(refs.wide_ring.at[at, worker]) if has_wide else None
                places = Places(
                    plan,
                    lambda: gpu.index(shape, 0, start + offset),
                    lambda: gpu.index(shape, 1, j * columns),
                    lambda: gpu.spread(q_marks, shape, 0),
                    lambda: gpu.spread(k_marks, shape, 1),
                )

                def weights(products):
                    visible = (j >= whole) & (j < ragged)
                    return weights_of(plan, products, places, slope, wide, gpu.spread(lse, shape, 0), visible)

                scores = (q_own, gpu.transposed(refs.k_ring.at[at]))
                gradient = (do_own, gpu.transposed(refs.v_ring.at[at]))
                if H == 64 or (H == 128 and not plan.work):
                    (p, slant), dp = gpu.two_products(scores, gradient, weights)
                else:  # too many registers to have both at once
                    p, slant = weights(gpu.product(*scores))
                    dp = gpu.product(*gradient)
                values.give_back(count)
                own.release((turn > 0) & (j == first), turn - 1, worker)
                keep = places.kept(seed, b, n) if plan.dropout else None
                ds = score_gradient(plan, p, dp, gpu.spread(delta, shape, 0), slant, keep)
                dq = gpu.add_product(dq, ds.astype(dtype), refs.k_ring.at[at])
                if plan.marks or has_wide:
                    gpu.publish()  # these were read by ordinary loads: done before the copy engine overwrites them
                keys.give_back(count)
                return dq

            dq = lax.fori_loop(first, last, step, gpu.full((tall, H), 0.0))
            own.release((turn > 0) & (first == last), turn - 1, worker)
            q_own[...] = (dq * plan.scale).astype(dtype)
            gpu.publish()
            gpu.send(q_own, refs.dq.at[b, gpu.ds(start, tall), n])
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
                    gpu.fetch(refs.do.at[b, place, n], refs.do_own.at[slot, worker], barrier)
                    gpu.fetch(refs.lse.at[b, n, place], refs.lse_own.at[slot, worker], barrier)
                    gpu.fetch(refs.delta.at[b, n, place], refs.delta_own.at[slot, worker], barrier)
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
                        place_of_block = (i * rows + worker * tall, j * columns, *shape)
                        block = wide_slice(plan, refs, b, n, *place_of_block, queries="rows")
                        gpu.fetch(block, refs.wide_ring.at[at, worker], barrier)

                def fetch_values(at, barrier):
                    gpu.fetch(refs.v.at[b, place, head], refs.v_ring.at[at], barrier)

                keys.fill(done + j - first, fetch_keys)
                values.fill(done + j - first, fetch_values)
                return ()

            lax.fori_loop(first, last, step, ())
            return done + last - first

        turns, done = walk(blocks, B * N * parts, one, jnp.int32(0))
        own.drain(turns)
        keys.drain(done)
        values.drain(done)

    scratch = dict(
        q_own=gpu.matrices((slots, C, tall, H), dtype),
        do_own=gpu.matrices((slots, C, tall, H), dtype),
        lse_own=gpu.vectors((slots, C, tall), jnp.float32),
        delta_own=gpu.vectors((slots, C, tall), jnp.float32),
        k_ring=gpu.matrices((stages, columns, H), dtype),
        v_ring=gpu.matrices((stages, columns, H), dtype),
        own_ready=gpu.barriers(slots * C, 4 + plan.marks),
        own_free=gpu.barriers(slots * C),
        k_ready=gpu.barriers(stages, 1 + plan.marks + C * has_wide),
        k_free=gpu.barriers(stages, C),
        v_ready=gpu.barriers(stages),
        v_free=gpu.barriers(stages, C),
    )
    if plan.marks:
        scratch["q_marks"] = gpu.vectors((slots, C, tall), jnp.int32)
        scratch["k_marks"] = gpu.vectors((stages, columns), jnp.int32)
    if has_wide:
        scratch["wide_ring"] = gpu.matrices((stages, C, tall, columns), jnp.float32)
    outputs = dict(dq=jax.ShapeDtypeStruct(q.shape, dtype))
    return run("attention_dq", plan, tiling, arrays, outputs, scratch, B * N * parts, compute, copy)["dq"]


def keys_and_values(plan: Plan, tiling: Tiling, arrays: dict, wanted: tuple[str, ...] = ("dk", "dv")) -> dict:
    """dk and dv, or one of them (each takes width / 2 registers of every thread). arrays: as for `queries`.

    Blocks are transposed: rows are keys. Of the query heads that share a head of keys, one follows the other into the
    same sums.
    """
    k, dtype = arrays["k"], arrays["k"].dtype
    B, (K, H), G = k.shape[0], (plan.heads[1], plan.width), plan.group
    tall, rows, columns = gpu.ROWS, tiling.rows, tiling.columns
    C, slots, stages = tiling.workers, tiling.slots, tiling.stages
    shape = (tall, columns)
    parts = -(-plan.lengths[1] // rows)
    has_wide = plan.bias in ("line", "dense")
    dk_wanted, dv_wanted = "dk" in wanted, "dv" in wanted

    def compute(refs, worker, blocks):
        own = Resident(tiling, refs.own_ready, refs.own_free)
        left, right = Ring(tiling, refs.q_ready, refs.q_free), Ring(tiling, refs.do_ready, refs.do_free)
        offset = setting(plan, refs)

        def one(turn, tile, done):
            b, head, j = unravel(tile, (B, K, parts))
            first, whole, ragged, last = span(refs, b, j)
            length = last - first
            start = j * rows + worker * tall
            slot = own.take(turn, worker)
            k_own, v_own = refs.k_own.at[slot, worker], refs.v_own.at[slot, worker]
            k_marks = gpu.along(refs.k_marks.at[slot, worker], 0) if plan.marks else None

            def step(number, totals):
                dk, dv = totals
                n = head * G + lax.div(number, jnp.maximum(length, 1))
                i = first + lax.rem(number, jnp.maximum(length, 1))
                slope, seed = head_numbers(plan, refs, n)
                count = done + number
                at = left.take(count)
                wide = gpu.matrix(refs.wide_ring.at[at, worker]) if has_wide else None
                places = Places(
                    plan,
                    lambda: gpu.index(shape, 1, i * columns + offset),
                    lambda: gpu.index(shape, 0, start),
                    lambda: gpu.spread(gpu.along(refs.q_marks.at[at], 1), shape, 1),
                    lambda: gpu.spread(k_marks, shape, 0),
                )
                right.take(count)

                def weights(products):
                    visible = (i >= whole) & (i < ragged)
                    lse = gpu.spread(gpu.along(refs.lse_ring.at[at], 1), shape, 1)
                    return weights_of(plan, products, places, slope, wide, lse, visible)

                scores = (k_own, gpu.transposed(refs.q_ring.at[at]))
                gradient = (v_own, gpu.transposed(refs.do_ring.at[at]))
                if dk_wanted and (H == 64 or (H == 128 and not dv_wanted and plan.work < 2)):
                    (p, slant), dp = gpu.two_products(scores, gradient, weights)
                else:  # too many registers to have both at once
                    (p, slant), dp = weights(gpu.product(*scores)), None
                own.release((turn > 0) & (number == 0), turn - 1, worker)
                if dv_wanted:
                    p_kept = jnp.where(places.kept(seed, b, n), p, 0.0) if plan.dropout else p
                    dv = gpu.add_product(dv, p_kept.astype(dtype), refs.do_ring.at[at])
                if dk_wanted and dp is None:
                    dp = gpu.product(*gradient)
                right.give_back(count)
                if dk_wanted:
                    delta = gpu.spread(gpu.along(refs.delta_ring.at[at], 1), shape, 1)
                    keep = places.kept(seed, b, n) if plan.dropout else None
                    ds = score_gradient(plan, p, dp, delta, slant, keep)
                    dk = gpu.add_product(dk, ds.astype(dtype), refs.q_ring.at[at])
                gpu.publish()  # vectors were read by ordinary loads: done before the copy engine overwrites them
                left.give_back(count)
                return dk, dv

            zero = tuple(gpu.full((tall, H), 0.0) if asked else jnp.int32(0) for asked in (dk_wanted, dv_wanted))
            dk, dv = lax.fori_loop(0, G * length, step, zero)
            own.release((turn > 0) & (length == 0), turn - 1, worker)
            place = (b, gpu.ds(start, tall), head)
            if dk_wanted:
                k_own[...] = (dk * plan.scale).astype(dtype)
            if dv_wanted:
                v_own[...] = (dv * (1.0 / (1.0 - plan.dropout))).astype(dtype)
            gpu.publish()
            if dk_wanted:
                gpu.send(k_own, refs.dk.at[place])
            if dv_wanted:
                gpu.send(v_own, refs.dv.at[place])
            return done + G * length

        walk(blocks, B * K * parts, one, jnp.int32(0))
        gpu.sent()

    def copy(refs, blocks):
        own = Resident(tiling, refs.own_ready, refs.own_free)
        left, right = Ring(tiling, refs.q_ready, refs.q_free), Ring(tiling, refs.do_ready, refs.do_free)

        def one(turn, tile, done):
            b, head, j = unravel(tile, (B, K, parts))
            first, _, _, last = span(refs, b, j)
            length = last - first
            for worker in range(C):

                def fetch(slot, barrier, worker=worker):
                    place = gpu.ds(j * rows + worker * tall, tall)
                    gpu.fetch(refs.k.at[b, place, head], refs.k_own.at[slot, worker], barrier)
                    gpu.fetch(refs.v.at[b, place, head], refs.v_own.at[slot, worker], barrier)
                    if plan.marks:
                        gpu.fetch(refs.k_ids.at[b, place], refs.k_marks.at[slot, worker], barrier)

                own.fill(turn, worker, fetch)

            def step(number, _):
                n = head * G + lax.div(number, jnp.maximum(length, 1))
                i = first + lax.rem(number, jnp.maximum(length, 1))
                place = gpu.ds(i * columns, columns)

                def fetch_queries(at, barrier):
                    gpu.fetch(refs.q.at[b, place, n], refs.q_ring.at[at], barrier)
                    gpu.fetch(refs.lse.at[b, n, place], refs.lse_ring.at[at], barrier)
                    gpu.fetch(refs.delta.at[b, n, place], refs.delta_ring.at[at], barrier)
                    if plan.marks:
                        gpu.fetch(refs.q_ids.at[b, place], refs.q_marks.at[at], barrier)
                    for worker in range(C if has_wide else 0):
                        place_of_block = (j * rows + worker * tall, i * columns, *shape)
                        block = wide_slice(plan, refs, b, n, *place_of_block, queries="columns")
                        gpu.fetch(block, refs.wide_ring.at[at, worker], barrier)

                def fetch_gradients(at, barrier):
                    gpu.fetch(refs.do.at[b, place, n], refs.do_ring.at[at], barrier)

                left.fill(done + number, fetch_queries)
                right.fill(done + number, fetch_gradients)
                return ()

            lax.fori_loop(0, G * length, step, ())
            return done + G * length

        turns, done = walk(blocks, B * K * parts, one, jnp.int32(0))
        own.drain(turns)
        left.drain(done)
        right.drain(done)

    scratch = dict(
        k_own=gpu.matrices((slots, C, tall, H), dtype),
        v_own=gpu.matrices((slots, C, tall, H), dtype),
        q_ring=gpu.matrices((stages, columns, H), dtype),
        do_ring=gpu.matrices((stages, columns, H), dtype),
        lse_ring=gpu.vectors((stages, columns), jnp.float32),
        delta_ring=gpu.vectors((stages, columns), jnp.float32),
        own_ready=gpu.barriers(slots * C, 2 + plan.marks),
        own_free=gpu.barriers(slots * C),
        q_ready=gpu.barriers(stages, 3 + plan.marks + C * has_wide),
        q_free=gpu.barriers(stages, C),
        do_ready=gpu.barriers(stages),
        do_free=gpu.barriers(stages, C),
    )
    if plan.marks:
        scratch["k_marks"] = gpu.vectors((slots, C, tall), jnp.int32)
        scratch["q_marks"] = gpu.vectors((stages, columns), jnp.int32)
    if has_wide:
        scratch["wide_ring"] = gpu.matrices((stages, C, tall, columns), jnp.float32)
    outputs = {name: jax.ShapeDtypeStruct(k.shape, dtype) for name in ("dk", "dv") if name in wanted}
    name = f"attention_{'_'.join(outputs)}"
    return run(name, plan, tiling, arrays, outputs, scratch, B * K * parts, compute, copy)
