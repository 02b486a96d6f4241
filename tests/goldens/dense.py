"""Makes the golden of heads of dense prediction: transformers' heads of SegFormer and UPerNet on maps of odd sizes.

    oracle/bin/python -m tests.goldens.dense

Maps, logits and gradients are [B H W C]; parameters have the names of the modules. See make.py for the rest.
"""

import torch
from transformers import SegformerConfig, SwinConfig, UperNetConfig
from transformers.models.segformer.modeling_segformer import SegformerDecodeHead
from transformers.models.upernet.modeling_upernet import UperNetHead

from tests.goldens.make import coarse, save

WIDTHS, SIZES, WIDTH, CLASSES = (6, 10, 12), ((9, 14), (5, 7), (2, 4)), 8, 5


def shaken(module):
    """The module in evaluation with irregular weights and statistics."""
    with torch.no_grad():
        for i, (name, value) in enumerate(sorted(module.state_dict().items())):
            if value.dtype == torch.float32:
                noise = coarse(value.shape, 0.3, 100 + i)
                value.copy_(noise.abs() + 0.5 if name.endswith(("running_var", "batch_norm.weight")) else noise)
    return module.eval()


def main():
    dropped = dict(num_labels=CLASSES)
    segformer = SegformerConfig(num_encoder_blocks=3, hidden_sizes=list(WIDTHS), decoder_hidden_size=WIDTH, **dropped)
    upernet = UperNetConfig(backbone_config=SwinConfig(), hidden_size=WIDTH, pool_scales=[1, 2, 3], **dropped)
    heads = dict(segformer=SegformerDecodeHead(segformer), upernet=UperNetHead(upernet, list(WIDTHS)))
    maps = [coarse((2, width, *size), 1.0, i) for i, (width, size) in enumerate(zip(WIDTHS, SIZES, strict=True))]
    arrays = {f"input/{i}": one.permute(0, 2, 3, 1).clone() for i, one in enumerate(maps)}
    for name, head in heads.items():
        given = [one.clone().requires_grad_() for one in maps]
        logits = shaken(head)(given)
        weights = coarse(logits.shape, 1.0, 7)
        (logits * weights).sum().backward()
        arrays[f"cotangent/{name}"] = weights.permute(0, 2, 3, 1)
        arrays[f"output/{name}"] = logits.detach().permute(0, 2, 3, 1)
        arrays |= {f"weight/{name}/{key}": value for key, value in head.state_dict().items() if value.ndim}
        arrays |= {f"grad/{name}/{i}": one.grad.permute(0, 2, 3, 1) for i, one in enumerate(given)}
        arrays |= {f"grad/{name}/{key}": value.grad for key, value in head.named_parameters()}
    save("dense_heads", arrays, dict(widths=WIDTHS, sizes=SIZES))


if __name__ == "__main__":
    main()
