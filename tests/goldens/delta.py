"""Makes the golden of the delta rule: the recurrences of flash-linear-attention 0.6.0, which run without a GPU.

    oracle/bin/pip install --no-deps --target FOLDER fla-core==0.6.0 flash-linear-attention==0.6.0 einops triton
    PYTHONPATH=FOLDER oracle/bin/python -m tests.goldens.delta

Its states are [B N K V], and its queries are multiplied by K^-0.5.
"""

import torch
from fla.ops.delta_rule.naive import delta_rule_recurrence
from fla.ops.gated_delta_rule.naive import naive_recurrent_gated_delta_rule

from tests.goldens.make import coarse, save

B, T, N, K, V = 2, 21, 3, 6, 5


def operations():
    """Arrays of both recurrences with their gradients, for the sum of y and the last state times cotangents."""
    given = {
        "q": coarse((B, T, N, K), 1.0, 0),
        "k": coarse((B, T, N, K), 0.4, 1),
        "v": coarse((B, T, N, V), 1.0, 2),
        "beta": coarse((B, T, N), 2.0, 3).sigmoid() * 2,
        "log_decay": -coarse((B, T, N), 0.5, 4).abs(),
        "state": coarse((B, N, K, V), 1.0, 5),
    }
    cotangents = {"y": coarse((B, T, N, V), 1.0, 6), "state": coarse((B, N, K, V), 1.0, 7)}
    arrays = {f"input/{name}": a for name, a in given.items()}
    arrays |= {f"input/cotangent/{name}": a for name, a in cotangents.items()}
    for kind in ("plain", "gated"):
        x = {name: a.clone().requires_grad_() for name, a in given.items() if kind == "gated" or name != "log_decay"}
        if kind == "gated":
            rest = dict(g=x["log_decay"], initial_state=x["state"], output_final_state=True)
            y, last = naive_recurrent_gated_delta_rule(x["q"], x["k"], x["v"], x["beta"], **rest)
        else:
            q, k, v, beta = (x[name].transpose(1, 2) for name in ("q", "k", "v", "beta"))
            y, last = delta_rule_recurrence(q, k, v, beta, initial_state=x["state"])
            y = y.transpose(1, 2)
        ((y * cotangents["y"]).sum() + (last * cotangents["state"]).sum()).backward()
        arrays |= {f"output/{kind}/y": y.detach(), f"output/{kind}/state": last.detach()}
        arrays |= {f"grad/{kind}/{name}": a.grad for name, a in x.items()}
    return arrays


if __name__ == "__main__":
    torch.set_num_threads(1)
    save("delta", operations(), dict(scale=K**-0.5))
