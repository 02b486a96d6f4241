"""Attention in float32 on two CPU cores: xfm against PyTorch's scaled_dot_product_attention, forward.

    python benchmarks/attention_cpu.py [--peer PYTHON_WITH_TORCH] [--cases 512]

Batch 8, 12 heads of 64, rows of 128 and 512 tokens (2 rows of 2,048), without padding. The peer gets its queries, keys
and values as [batch, heads, length, width], which it prefers; xfm as [batch, length, heads, width], which a network's
projections write. A call computes attention several times, so that it takes about a fifth of a second.
"""

import sys

from common import ROOT, THREADS, compare

HEADS, WIDTH = 12, 64
CASES = {128: (8, 40), 512: (8, 5), 2048: (2, 2)}  # length: (rows, attentions per call)


def arrays(length):
    import numpy as np

    rng = np.random.default_rng(length)
    return [rng.normal(size=(CASES[length][0], length, HEADS, WIDTH)).astype(np.float32) for _ in range(3)]


def peer(folder):
    import torch

    torch.set_num_threads(THREADS)

    def forward(length):
        q, k, v = (torch.tensor(a).transpose(1, 2).contiguous() for a in arrays(length))

        def call():
            with torch.inference_mode():
                for _ in range(CASES[length][1]):
                    y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            return y.transpose(1, 2).numpy()

        return call

    return {f"forward_{length}": forward(length) for length in CASES}


def xfm(folder):
    import jax

    sys.path.append(str(ROOT))
    from xfm.kernels.attention import attention

    run = jax.jit(attention)

    def forward(length):
        given = [jax.device_put(a) for a in arrays(length)]

        def call():
            for _ in range(CASES[length][1]):
                y = run(*given).block_until_ready()
            return y

        return call

    return {f"forward_{length}": forward(length) for length in CASES}


if __name__ == "__main__":
    compare(__file__, __doc__.splitlines()[0], {"peer": peer, "xfm": xfm})
