"""JinaBERT: jina-embeddings-v2 small, base and its other languages, whose model_type is `bert`, with ALiBi.

Günther et al. 2023. The network is defined by the authors' own code, which is not part of transformers; the oracle is
transformers' BertModel with attention and feed-forward parts replaced. The model for source code
(jina-embeddings-v2-base-code) has other tensors, so it is refused.
"""

import dataclasses

from xfm.configs.text import jina_bert
from xfm.hub.families import bert
from xfm.hub.naming import At
from xfm.hub.settings import Settings


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.only("position_embedding_type", "alibi")
    c.get(("max_position_embeddings", "emb_pooler"))  # there is no table of positions; a sentence encoder's pooling
    return jina_bert.network(
        layers=c["num_hidden_layers"],
        width=c["hidden_size"],
        heads=c["num_attention_heads"],
        vocab=c["vocab_size"],
        activation=c.choose("feed_forward_type", {"geglu": "gelu", "reglu": "relu"}),
        hidden=c["intermediate_size"],
        types=c.get("type_vocab_size", 2),
        act=bert.activation(c),
        eps=c.get("layer_norm_eps", 1e-12),
    ) | {"heads": {}}


KEYS = bert.KEYS | {
    "position_embedding_type": lambda spec: spec["pattern"][0]["position"]["kind"],
    "feed_forward_type": lambda spec: {"gelu": "geglu", "relu": "reglu"}[spec["pattern"][1]["activation"]],
    "hidden_act": "heads/mlm/activation",
}
ELSEWHERE = ("embed/position", "layer/1/")
NAMES = {path: name for path, name in bert.NAMES.items() if not path.startswith(ELSEWHERE)} | {
    "layer/1/part/gate": At("encoder.layer.{}.mlp.gated_layers", part=(0, 2)),
    "layer/1/part/up": At("encoder.layer.{}.mlp.gated_layers", part=(1, 2)),
    "layer/1/part/down": "encoder.layer.{}.mlp.wo",
    "layer/1/out_norm": "encoder.layer.{}.mlp.layernorm",
}

FAMILY = dataclasses.replace(bert.FAMILY, network=network, keys=KEYS, classes="JinaBert", names=NAMES)
