"""The families of checkpoints that xfm loads and writes, by the `model_type` of their config.json."""

from xfm.hub.families import bert

FAMILIES = {
    "bert": bert.FAMILY,
}
