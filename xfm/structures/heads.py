"""Which heads of a network read the outputs of others."""

from xfm.parts.pool import POOLS
from xfm.spec import Spec, build, named, nested


def heads_read(head: Spec) -> list[str]:
    """The heads that have to run before this one, because a pool anywhere in it reads what they make."""
    pools = [one for one in nested(head) if any(hasattr(cls, "reads") for cls in named(one["kind"], POOLS))]
    return [build(POOLS, one, parent=None).reads for one in pools]
