"""Makes the golden of gated linear attention: forms of flash-linear-attention 0.6.0 that run without a GPU.

    oracle/bin/pip install --no-deps --target FOLDER fla-core==0.6.0 flash-linear-attention==0.6.0 einops triton
    PYTHONPATH=FOLDER oracle/bin/python -m tests.goldens.gla

Its states are [B N K V], and its queries are multiplied by K^-0.5.
"""

import torch
from fla.ops.gla.naive import naive_recurrent_gla
from fla.ops.retention.naive import naive_retention
from fla.ops.simple_gla.naive import naive_chunk_simple_gla

from tests.goldens.make import coarse, save

B, T, N, K, V = 2, 21, 3, 6, 5


def by_channel(q, k, v, log_decay, state):
    return naive_recurrent_gla(q, k, v, log_decay, initial_state=state, output_final_state=True)


def by_head(q, k, v, log_decay, state):
    more = dict(initial_state=state, output_final_state=True, chunk_size=8)
    return naive_chunk_simple_gla(q, k, v, log_decay, **more)


def retention(q, k, v):
    return naive_retention(*(a.transpose(1, 2) for a in (q, k, v))).transpose(1, 2), None


def operations():
    """Arrays of the three with their gradients, for the sum of y and the last state times cotangents."""
    given = {
        "q": coarse((B, T, N, K), 1.0, 0),
        "k": coarse((B, T, N, K), 0.4, 1),
        "v": coarse((B, T, N, V), 1.0, 2),
        "state": coarse((B, N, K, V), 1.0, 3),
    }
    decays = {"by_channel": -coarse((B, T, N, K), 0.5, 4).abs(), "by_head": -coarse((B, T, N), 0.5, 5).abs()}
    cotangents = {"y": coarse((B, T, N, V), 1.0, 6), "state": coarse((B, N, K, V), 1.0, 7)}
    arrays = {f"input/{name}": a for name, a in given.items()}
    arrays |= {f"input/{kind}/log_decay": a for kind, a in decays.items()}
    arrays |= {f"input/cotangent/{name}": a for name, a in cotangents.items()}
    for run in (by_channel, by_head, retention):
        kind = run.__name__
        taken = given | {"log_decay": decays[kind]} if kind in decays else {name: given[name] for name in "qkv"}
        x = {name: a.clone().requires_grad_() for name, a in taken.items()}
        y, last = run(**x)
        loss = (y * cotangents["y"]).sum()
        if last is not None:
            loss = loss + (last * cotangents["state"]).sum()
            arrays[f"output/{kind}/state"] = last.detach()
        loss.backward()
        arrays[f"output/{kind}/y"] = y.detach()
        arrays |= {f"grad/{kind}/{name}": a.grad for name, a in x.items()}
    return arrays


if __name__ == "__main__":
    torch.set_num_threads(1)
    save("gla", operations(), dict(scale=K**-0.5))
