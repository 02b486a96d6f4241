"""Makes the golden of CRATE-MAE: the authors' program, from a checkout of it, with irregular weights.

    git clone https://github.com/Ma-Lab-Berkeley/CRATE CHECKOUT
    oracle/bin/pip install timm==1.0.31 einops
    oracle/bin/python -m tests.goldens.crate_mae CHECKOUT

The golden was made of commit 674408f. Outputs are "latent", the encoder's patches, and "patches", what is predicted of
all of them. See make.py for the rest.
"""

import re
import sys
from functools import partial

import torch
from safetensors.torch import save_file
from torch import nn

from tests.goldens.make import coarse, record, shake

UNREAD = r"model\.(pos_embed|decoder_embed)"  # which the program creates and never reads


class Autoencoder(nn.Module):
    """Encoder and decoder for images [B C H W], of which the same patches are hidden each time."""

    def __init__(self, model):
        super().__init__()
        self.model = model.requires_grad_()

    def run(self, images):
        """The encoder's tokens, the predictions of all patches, and which patches are hidden."""
        torch.manual_seed(0)
        latent, mask, restore = self.model.forward_encoder(images, 0.75)
        return latent, self.model.forward_decoder(latent, restore), mask

    def forward(self, images, output_hidden_states):
        return self.run(images)

    def save_pretrained(self, folder):
        kept = {name: p.contiguous() for name, p in self.named_parameters() if not re.match(UNREAD, name)}
        save_file(kept, f"{folder}/model.safetensors")


def main(checkout):
    sys.path.insert(0, checkout)
    from model.crate_ae.crate_ae import CRATEDecoderBlock, CRATEEncoderBlock, MaskedAutoencoderViT

    config = dict(layers=2, width=24, heads=3, patch=4, size=12)
    model = Autoencoder(
        MaskedAutoencoderViT(
            CRATEEncoderBlock, CRATEDecoderBlock, img_size=12, patch_size=4, embed_dim=24, depth=2, num_heads=3,
            decoder_embed_dim=24, decoder_depth=2, decoder_num_heads=3, norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
    )  # fmt: skip
    shake(model, 0.2)
    images = coarse((2, 3, 12, 12), 1.0, 3)
    given = dict(images=images.permute(0, 2, 3, 1), hidden=model.run(images)[2])
    keep = r"token|patch_embed|blocks\.0\.layers\.0\.1\.|decoder_pred"
    read = lambda answer: {"latent": answer[0][:, 1:], "patches": answer[1]}  # noqa: E731
    record("crate_mae", model, dict(images=images), read, config, keep, given)


if __name__ == "__main__":
    main(sys.argv[1])
