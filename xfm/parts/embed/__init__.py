"""Embeddings, which make the stream of a batch: `x, ctx = embed(batch, ctx)`."""

from xfm.parts.embed.bytes import Bytes
from xfm.parts.embed.clicked import Clicked
from xfm.parts.embed.hashed import Hashed
from xfm.parts.embed.latents import Latents
from xfm.parts.embed.naflex import NaFlex
from xfm.parts.embed.patches import Patches
from xfm.parts.embed.projected import Projected
from xfm.parts.embed.questions import Questions
from xfm.parts.embed.spectrogram import Spectrogram
from xfm.parts.embed.stream import Stream
from xfm.parts.embed.tokens import Tokens
from xfm.parts.embed.tubelets import Tubelets
from xfm.parts.embed.words import Words

EMBEDS = {
    "tokens": Tokens,
    "bytes": Bytes,
    "hashed": Hashed,
    "patches": Patches,
    "clicked": Clicked,
    "tubelets": Tubelets,
    "spectrogram": Spectrogram,
    "naflex": NaFlex,
    "words": Words,
    "latents": Latents,
    "stream": Stream,
    "projected": Projected,
    "questions": Questions,
}
