"""A table with a row for each id."""

import flax.linen as nn

from xfm.parts.param import param


class Table(nn.Embed):
    """Linen's Embed, whose parameter "embedding" is small and made as the parameters of all parts are."""

    embedding_init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    def setup(self):
        self.embedding = param(self, "embedding", self.embedding_init, (self.num_embeddings, self.features))
