"""What config.json says of rotary positions, in both generations of these files."""

from collections.abc import Mapping
from typing import Any

from xfm.errors import XfmError
from xfm.hub.settings import Settings


def theta(c: Settings, default: float | None = None, old: str = "rope_theta") -> float:
    """The base of the wavelengths, of `rope_parameters` or of the older key `old`; XfmError where they are scaled."""
    c.only("rope_scaling", None)
    found = base(c, c.get("rope_parameters") or {}, c.get(old, default))
    if found is None:
        raise XfmError(f"{c.path} lacks {old}, without which the network cannot be built")
    return found


def base(c: Settings, parameters: Mapping[str, Any], default: float | None) -> float | None:
    """The base in one of config.json's `rope_parameters`; XfmError for angles that are not plain."""
    plain = parameters.get("rope_type", parameters.get("type", "default")) == "default"
    strange = set(parameters) - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
    if not plain or strange or parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise XfmError(
            f"{c.path} sets rope_parameters to {dict(parameters)!r}; xfm has this family with rope_type 'default'"
        )
    return parameters.get("rope_theta", default)
