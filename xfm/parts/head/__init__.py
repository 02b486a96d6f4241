"""From the stream to an answer: `head(x, ctx)`."""

from xfm.parts.head.classification import Classification
from xfm.parts.head.mlm import MLM
from xfm.parts.head.span import Span
from xfm.parts.head.tagging import Tagging
from xfm.parts.head.vector import Vector

HEADS = {
    "mlm": MLM,
    "classification": Classification,
    "tagging": Tagging,
    "span": Span,
    "vector": Vector,
}
