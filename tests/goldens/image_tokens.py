"""Makes the golden of the encoder of visual tokens: transformers' FlavaImageCodebook, small, with random weights.

    oracle/bin/python -m tests.goldens.image_tokens

The authors' program (openai/DALL-E, dall_e/encoder.py) has the same modules. Tensors have the names of FLAVA's file.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

SIZES = dict(hidden_size=8, vocab_size=11, num_blocks_per_group=2)


def main():
    torch.manual_seed(0)
    model = FlavaImageCodebook(FlavaImageCodebookConfig(**SIZES)).eval()
    for name, parameter in model.named_parameters():  # biases too, and blocks that count beside what they are added to
        scale = 3.0 if "res_path" in name else 1.0
        parameter.data.normal_(std=0.1 if parameter.ndim == 1 else scale / parameter[0].numel() ** 0.5)
    last = model.blocks.output.conv.weight
    last.data -= last.data.mean(1, keepdim=True)  # what it reads is positive, and one code would win everywhere
    cells = 3 * torch.randn(2, 3, 3, 5)  # of 8 x 8 pixels, so that codes differ
    images = torch.rand(2, 3, 24, 40) + cells.repeat_interleave(8, 2).repeat_interleave(8, 3)
    with torch.no_grad():
        scores = model(images)
    tensors = {f"tensor/{name}": x.numpy() for name, x in model.state_dict().items()}
    given = dict(images=images.permute(0, 2, 3, 1).numpy(), scores=scores.permute(0, 2, 3, 1).numpy())
    np.savez_compressed(Path(__file__).parent / "image_tokens.npz", **given, **tensors)
    full = FlavaImageCodebook(FlavaImageCodebookConfig())
    print(sum(parameter.numel() for parameter in full.parameters()), "parameters of the full size")
    print(scores.std(), [int(code) for code in model.get_codebook_indices(images)[0, 0]])


if __name__ == "__main__":
    main()
