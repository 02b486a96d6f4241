"""Positions, which act in one of three ways: added to x, as a rotation of q and k, or as a bias on scores."""

from xfm.parts.position.alibi import Alibi
from xfm.parts.position.continuous_grid import ContinuousGrid
from xfm.parts.position.dynamic_grid import DynamicGrid
from xfm.parts.position.grid_decay import DecayOverGrid
from xfm.parts.position.grid_distances import GridDistances
from xfm.parts.position.joined import Joined
from xfm.parts.position.learned import Learned
from xfm.parts.position.learned_grid import LearnedGrid
from xfm.parts.position.learned_video import LearnedVideo
from xfm.parts.position.none import NoPosition
from xfm.parts.position.relative_buckets import RelativeBuckets
from xfm.parts.position.relative_grid import RelativeGrid
from xfm.parts.position.relative_patches import RelativePatches
from xfm.parts.position.relative_sines import RelativeSines
from xfm.parts.position.relative_table import RelativeTable
from xfm.parts.position.rope import Rope
from xfm.parts.position.rope_2d import Rope2D
from xfm.parts.position.rope_centres import RopeCentres
from xfm.parts.position.shared import Shared
from xfm.parts.position.sinusoidal import Sinusoidal
from xfm.parts.position.sinusoidal_2d import Sinusoidal2D
from xfm.parts.position.space_time import SpaceTime

POSITIONS = {
    "none": NoPosition,
    "learned": Learned,
    "learned_grid": LearnedGrid,
    "learned_video": LearnedVideo,
    "space_time": SpaceTime,
    "sinusoidal": Sinusoidal,
    "sinusoidal_2d": Sinusoidal2D,
    "rope": Rope,
    "rope_2d": Rope2D,
    "rope_centres": RopeCentres,
    "alibi": Alibi,
    "grid_decay": DecayOverGrid,
    "relative_buckets": RelativeBuckets,
    "relative_table": RelativeTable,
    "relative_grid": RelativeGrid,
    "grid_distances": GridDistances,
    "continuous_grid": ContinuousGrid,
    "dynamic_grid": DynamicGrid,
    "relative_patches": RelativePatches,
    "relative_sines": RelativeSines,
    "shared": Shared,
    "joined": Joined,
}
