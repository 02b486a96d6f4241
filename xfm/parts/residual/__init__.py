"""How a sublayer's output joins the stream: `x = residual(x, y, ctx)`."""

from xfm.parts.residual.activated import Activated
from xfm.parts.residual.convolved import Convolved
from xfm.parts.residual.long import Long
from xfm.parts.residual.plain import Plain
from xfm.parts.residual.scaled import Scaled

RESIDUALS = {
    "plain": Plain,
    "scaled": Scaled,
    "convolved": Convolved,
    "long": Long,
    "activated": Activated,
}
