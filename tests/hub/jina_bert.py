"""JinaBERT in PyTorch: transformers' BERT and its heads, with ALiBi for its mask and gated units for its last part."""

import torch
import transformers
from torch import nn
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

LOWEST = torch.finfo(torch.float32).min


class GLU(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gated_layers = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.gate = {"geglu": nn.functional.gelu, "reglu": nn.functional.relu}[config.feed_forward_type]

    def forward(self, x):
        gate, up = self.gated_layers(x).chunk(2, dim=-1)
        return self.layernorm(x + self.wo(self.gate(gate) * up))


class NoPlaces(nn.Module):
    def forward(self, places):
        return 0.0


def alibi_of(mask: torch.Tensor, heads: int) -> torch.Tensor:
    """[B N T T]: padding far below all, and each head's slope (those of Bloom) times the distance."""
    slopes = build_alibi_tensor(torch.ones(1, 2, dtype=torch.long), heads, torch.float32)[:, 0, 1]
    places = torch.arange(mask.shape[1])
    far = (places[:, None] - places).abs()
    return torch.where(mask[:, None, None] > 0, -slopes[None, :, None, None] * far, LOWEST)


def gated(cls):
    """A class of transformers' BERT with these parts; it saves itself under names and keys of JinaBERT's files."""

    class Jina(cls):
        def __init__(self, config):
            config._attn_implementation = "eager"
            super().__init__(config)
            bert = getattr(self, "bert", self)
            bert.embeddings.position_embeddings = NoPlaces()
            for layer in bert.encoder.layer:
                del layer.intermediate, layer.output
                layer.mlp = GLU(config)
                layer.feed_forward_chunk = layer.mlp.forward
            bert.register_forward_pre_hook(self.with_alibi, with_kwargs=True)

        @staticmethod
        def with_alibi(bert, args, given):
            mask = given["attention_mask"]
            return args, {**given, "attention_mask": alibi_of(mask, bert.config.num_attention_heads)}

    Jina.__name__ = cls.__name__
    return Jina


JinaBertModel = gated(transformers.BertModel)
JinaBertForMaskedLM = gated(transformers.BertForMaskedLM)
JinaBertForSequenceClassification = gated(transformers.BertForSequenceClassification)
