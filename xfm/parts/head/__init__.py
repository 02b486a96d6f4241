"""Heads, which make predictions or vectors of the stream: `head(x, ctx)`."""

from xfm.parts.head.all_mlp import AllMLP
from xfm.parts.head.classification import Classification
from xfm.parts.head.dense import DenseHead
from xfm.parts.head.detection import Detection
from xfm.parts.head.enhanced_mlm import EnhancedMLM
from xfm.parts.head.ffn import FFNHead
from xfm.parts.head.fpn import FPN
from xfm.parts.head.fused import Fused
from xfm.parts.head.instances import Instances
from xfm.parts.head.latent_queries import LatentQueries
from xfm.parts.head.linear_maps import LinearMaps
from xfm.parts.head.mean_and_tokens import MeanAndTokens
from xfm.parts.head.mlm import MLM
from xfm.parts.head.mlp_maps import MLPMaps
from xfm.parts.head.of_patches import OfPatches
from xfm.parts.head.patch_recovery import PatchRecovery
from xfm.parts.head.pixels import Pixels
from xfm.parts.head.prototypes import Prototypes
from xfm.parts.head.simple_pyramid import SimplePyramid
from xfm.parts.head.span import Span
from xfm.parts.head.span_beam import SpanBeam
from xfm.parts.head.tagging import Tagging
from xfm.parts.head.tiles import Tiles
from xfm.parts.head.unet_pixels import UNetPixels
from xfm.parts.head.upernet import UPerNet
from xfm.parts.head.upsampled import Upsampled
from xfm.parts.head.values import Values
from xfm.parts.head.vector import Vector
from xfm.parts.head.widening_pyramid import WideningPyramid

HEADS = {
    "mlm": MLM,
    "enhanced_mlm": EnhancedMLM,
    "classification": Classification,
    "tagging": Tagging,
    "span": Span,
    "span_beam": SpanBeam,
    "detection": Detection,
    "vector": Vector,
    "mean_and_tokens": MeanAndTokens,
    "dense": DenseHead,
    "ffn": FFNHead,
    "latent_queries": LatentQueries,
    "all_mlp": AllMLP,
    "upernet": UPerNet,
    "simple_pyramid": SimplePyramid,
    "widening_pyramid": WideningPyramid,
    "mlp_maps": MLPMaps,
    "linear_maps": LinearMaps,
    "fpn": FPN,
    "fused": Fused,
    "of_patches": OfPatches,
    "pixels": Pixels,
    "upsampled": Upsampled,
    "patch_recovery": PatchRecovery,
    "unet_pixels": UNetPixels,
    "values": Values,
    "tiles": Tiles,
    "prototypes": Prototypes,
    "instances": Instances,
}
