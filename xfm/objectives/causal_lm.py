"""Causal language modelling: guess each token from those before it. Bengio et al. 2003; Radford et al. 2018."""

import dataclasses

import jax
import jax.numpy as jnp

from xfm.objectives.base import Objective, cross_entropy, row_weights, weighted
from xfm.objectives.text import excerpt, unigram


@dataclasses.dataclass(frozen=True)
class CausalLM(Objective):
    """Cross-entropy, in nats per token, of the head "lm" on the next token of the same segment."""

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        out, sown = self.forward("model", params, batch, rng, train)
        logits, labels = out["lm"][:, :-1], batch["tokens"][:, 1:]
        weights = row_weights(batch, labels.shape)
        if "segments" in batch:
            here, following = batch["segments"][:, :-1], batch["segments"][:, 1:]
            weights *= (following > 0) & (here == following)
        metrics = {
            "loss": weighted(cross_entropy(logits, labels), weights),
            "accuracy": weighted(logits.argmax(-1) == labels, weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        return {"unigram": unigram(data)}

    def examples(self, params, extra, data, predict, count: int = 3, prompt: int = 24, length: int = 16):
        """`count` beginnings of validation rows, each continued by its likeliest tokens, one step at a time."""

        @jax.jit
        def following(tokens, places, state):
            batch = {"tokens": tokens, "positions": places}
            out, _ = self.forward("model", params, batch, state=state)
            return out["lm"][:, -1].argmax(-1)[:, None].astype(jnp.int32), out["state"]

        lines = []
        for i in range(min(count, len(data.valid))):
            row = data.valid[i * len(data.valid) // count]["tokens"]
            start = min(prompt, len(row) // 2)
            token, state = jnp.asarray(row[:start], jnp.int32)[None], self.model.init_state(1, start + length)
            continued, place = [], 0
            for _ in range(length):
                places = place + jnp.arange(token.shape[1])[None]
                place += token.shape[1]
                token, state = following(token, places, state)
                continued.append(int(token[0, 0]))
            lines.append(f"{excerpt(row[:start], start, start, data.tokenizer, '|')[:-1]}"
                         f"{' '.join(data.tokenizer.decode(continued).split())} …")  # fmt: skip
        return lines
