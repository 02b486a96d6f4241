"""The settings of rotary positions in config.json, in both generations of these files."""

from collections.abc import Mapping
from typing import Any

from xfm.errors import XfmError
from xfm.hub.settings import Settings


def theta(c: Settings, default: float | None = None, old: str = "rope_theta") -> float:
    """The base of the wavelengths, from `rope_parameters` or from the older key `old`.

    default: the family's base if config.json has none.
    Raises XfmError if there is none at all, or if positions are scaled, which xfm does not have.
    """
    c.only("rope_scaling", None)
    found = base(c, c.get("rope_parameters") or {}, c.get(old, default))
    if found is None:
        raise XfmError(f"{c.path} lacks {old}, without which the network cannot be built")
    return found


def base(c: Settings, parameters: Mapping[str, Any], default: float | None) -> float | None:
    """The base in one value of `rope_parameters`, or `default`. Raises XfmError if the angles are scaled or partial."""
    plain = parameters.get("rope_type", parameters.get("type", "default")) == "default"
    strange = set(parameters) - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
    if not plain or strange or parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise XfmError(
            f"{c.path} sets rope_parameters to {dict(parameters)!r}; xfm has this family with rope_type 'default'"
        )
    return parameters.get("rope_theta", default)
