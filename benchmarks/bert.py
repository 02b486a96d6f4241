"""BERT-base in float32 on two CPU cores: xfm against transformers, forward and training steps.

    python benchmarks/bert.py [--peer PYTHON_WITH_TORCH] [--cases forward]

Batch 8, rows of 128 and 512 tokens without padding. forward: the encoder alone. step: masked language modelling with
the loss at 15 % of the tokens (the same number on both sides), gradients clipped at norm 1, AdamW; dropout 0, or 0.1 in
the cases `step_drop`. The peer is PyTorch, eager, with scaled_dot_product_attention and fused AdamW, and starts from
the same weights.
"""

import sys

from common import ROOT, THREADS, compare

BATCH = 8  # rows
LENGTHS = (128, 512)
DROPS = {"step": 0.0, "step_drop": 0.1}


def tokens(length):
    import numpy as np

    return np.random.default_rng(length).integers(5, 30_000, (BATCH, length))


def chosen(length):
    """The positions of the loss, as many as xfm's objective chooses, and the tokens to predict there."""
    import numpy as np

    rng = np.random.default_rng(length + 1)
    at = np.stack([rng.permutation(length)[: round(0.15 * length)] for _ in range(BATCH)])
    return at, np.take_along_axis(tokens(length), at, axis=1)


def peer(folder):
    import numpy as np
    import torch
    from transformers import BertConfig, BertForPreTraining

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)

    def model(drop):
        config = BertConfig(hidden_dropout_prob=drop, attention_probs_dropout_prob=drop)
        return BertForPreTraining(config)

    still = model(0.0).eval()
    tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    weights = {k: v.numpy() for k, v in still.state_dict().items() if k not in tied}
    np.savez(folder / "bert.npz", **weights)

    def forward(length):
        ids = torch.tensor(tokens(length))

        def call():
            with torch.inference_mode():
                return still.bert(ids).last_hidden_state.numpy()

        return call

    def step(length, network):
        network.train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, eps=1e-6, fused=True)
        ids = torch.tensor(tokens(length))
        at, labels = (torch.tensor(a) for a in chosen(length))

        def call():
            x = network.bert(ids).last_hidden_state
            x = x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))
            logits = network.cls.predictions(x)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            loss.item()

        return call

    calls = {f"forward_{length}": forward(length) for length in LENGTHS}
    for name, drop in DROPS.items():
        network = model(drop)
        calls |= {f"{name}_{length}": step(length, network) for length in LENGTHS}
    return calls


def xfm(folder):
    import jax
    import jax.numpy as jnp
    import numpy as np

    sys.path.append(str(ROOT))
    from tests.parity.golden import place
    from tests.parity.test_bert import rules
    from xfm import build
    from xfm.configs.text import bert
    from xfm.objectives import build_objective
    from xfm.train.optimiser import build_optimiser
    from xfm.train.state import new_state
    from xfm.train.step import make_step
    from xfm.vocabulary import Vocabulary

    def config(drop):
        c = bert.get_config("base")
        c.model = bert.network(*bert.SIZES["base"], vocab=30522, length=512, drop=drop)
        return c

    network = build(config(0.0).model.to_dict())
    example = dict(tokens=jnp.zeros((1, 8), jnp.int32))
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
    with np.load(folder / "bert.npz") as weights:
        params = jax.device_put(place(dict(weights), shapes, rules(heads=12)))
    encoder = build(config(0.0).model.to_dict() | {"heads": {}})
    read = jax.jit(lambda p, ids: encoder.apply({"params": p}, {"tokens": ids})["hidden"])

    def forward(length):
        ids = jnp.asarray(tokens(length), jnp.int32)
        bare = {k: v for k, v in params.items() if not k.startswith("head_")}
        return lambda: read(bare, ids).block_until_ready()

    vocabulary = Vocabulary(size=30522, pad=0, unknown=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3))

    def step(length, drop):
        c = config(drop)
        c.objective.pairs = "none"
        del c.model.heads["pooled"], c.model.heads["nsp"]
        objective = build_objective(c, vocabulary)
        batch = dict(tokens=jnp.asarray(tokens(length), jnp.int32))
        of = {k: v for k, v in params.items() if k not in ("head_pooled", "head_nsp")}
        optimiser = build_optimiser(c.optimiser, lambda _: 1e-4, of, clip=c.clip)
        update = make_step(objective, optimiser)
        held = {}

        def call():
            if not held:
                state = new_state(objective, optimiser, jax.random.key(0), batch, None)
                held["state"] = state.replace(params=jax.tree.map(jnp.copy, of))
            held["state"], metrics = update(held["state"], batch)
            float(metrics["loss"][0])

        return call

    calls = {f"forward_{length}": forward(length) for length in LENGTHS}
    for name, drop in DROPS.items():
        calls |= {f"{name}_{length}": step(length, drop) for length in LENGTHS}
    return calls


if __name__ == "__main__":
    compare(__file__, __doc__.splitlines()[0], {"peer": peer, "xfm": xfm})
