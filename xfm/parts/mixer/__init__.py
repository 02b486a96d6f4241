"""Parts that move information between tokens: `y, state = mixer(x, ctx, state)`."""

from xfm.parts.mixer.aggregated_mlp import AggregatedMLP
from xfm.parts.mixer.along import Along
from xfm.parts.mixer.attention import Attention
from xfm.parts.mixer.bidirectional import Bidirectional
from xfm.parts.mixer.bottleneck import Bottleneck
from xfm.parts.mixer.channel_attention import ChannelAttention
from xfm.parts.mixer.collapsed_attention import CollapsedAttention
from xfm.parts.mixer.conv import Conv
from xfm.parts.mixer.conv_gate import ConvGate
from xfm.parts.mixer.conv_mlp import ConvMLP
from xfm.parts.mixer.convnext import ConvNeXt
from xfm.parts.mixer.depthwise import DepthwiseConv
from xfm.parts.mixer.disentangled import Disentangled
from xfm.parts.mixer.extended import Extended
from xfm.parts.mixer.focal_modulation import FocalModulation
from xfm.parts.mixer.fourier import Fourier
from xfm.parts.mixer.fused_attention import FusedAttention
from xfm.parts.mixer.fused_mbconv import FusedMBConv
from xfm.parts.mixer.head_tokens import HeadTokens
from xfm.parts.mixer.in_turn import InTurn
from xfm.parts.mixer.lambda_layer import LambdaLayer
from xfm.parts.mixer.local_mlp import LocalMLP
from xfm.parts.mixer.mamba2 import Mamba2
from xfm.parts.mixer.manhattan import Manhattan
from xfm.parts.mixer.mixed_attention import MixedAttention
from xfm.parts.mixer.normed import Normed
from xfm.parts.mixer.nystrom import Nystrom
from xfm.parts.mixer.overlapping import Overlapping
from xfm.parts.mixer.pooled_relative import PooledRelative
from xfm.parts.mixer.pooling import Pooling
from xfm.parts.mixer.positioned import Positioned
from xfm.parts.mixer.reduced import Reduced
from xfm.parts.mixer.relative import Relative
from xfm.parts.mixer.relu_attention import ReluAttention
from xfm.parts.mixer.state_space_2d import StateSpace2D
from xfm.parts.mixer.strided import Strided
from xfm.parts.mixer.subspace_attention import SubspaceAttention
from xfm.parts.mixer.token_mlp import TokenMLP
from xfm.parts.mixer.wavemix import WaveMix
from xfm.parts.mixer.windowed import Windowed

MIXERS = {
    "attention": Attention,
    "collapsed_attention": CollapsedAttention,
    "subspace_attention": SubspaceAttention,
    "disentangled": Disentangled,
    "mamba2": Mamba2,
    "bidirectional": Bidirectional,
    "fourier": Fourier,
    "mixed_attention": MixedAttention,
    "nystrom": Nystrom,
    "pooled_relative": PooledRelative,
    "relative": Relative,
    "windowed": Windowed,
    "overlapping": Overlapping,
    "channel_attention": ChannelAttention,
    "strided": Strided,
    "manhattan": Manhattan,
    "conv_gate": ConvGate,
    "relu_attention": ReluAttention,
    "extended": Extended,
    "head_tokens": HeadTokens,
    "positioned": Positioned,
    "normed": Normed,
    "along": Along,
    "reduced": Reduced,
    "pooling": Pooling,
    "token_mlp": TokenMLP,
    "conv_mlp": ConvMLP,
    "local_mlp": LocalMLP,
    "aggregated_mlp": AggregatedMLP,
    "depthwise": DepthwiseConv,
    "convnext": ConvNeXt,
    "fused_attention": FusedAttention,
    "focal_modulation": FocalModulation,
    "conv": Conv,
    "bottleneck": Bottleneck,
    "fused_mbconv": FusedMBConv,
    "lambda_layer": LambdaLayer,
    "wavemix": WaveMix,
    "state_space_2d": StateSpace2D,
    "in_turn": InTurn,
}
