"""What the config.json of timm's models says, which has no model_type.

The name under "architecture" says what the network is, and "model_args" what differs from it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xfm.errors import XfmError
from xfm.fields import shown
from xfm.hub.settings import Settings

HARMLESS = ("architecture", "num_features", "global_pool", "pretrained_cfg", "label_names", "label_descriptions")
OF_TRAINING = ("drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate", "strict_img_size", "dynamic_img_size")
QKV = {name: (i, 3) for i, name in enumerate("qkv")}  # the parts of the one map that makes queries, keys and values


def known(c: Settings, name: re.Pattern[str], names: str) -> re.Match[str]:
    """The architecture, taken apart.  names: those that there are, in words. Raises XfmError for another name."""
    found = name.fullmatch(str(c["architecture"]))
    if found is None:
        raise XfmError(f"{c.path} has the architecture {shown(c['architecture'])}; xfm reads {names}")
    return found


class Arguments:
    """The model_args of a config.json, which are taken one by one, so that `finish` finds those that xfm does not know.

    fixed: the only value that xfm's network has of an argument.  unread: arguments that do not change the result.
    Raises XfmError where one that is fixed has another value.
    """

    def __init__(self, c: Settings, fixed: Mapping[str, Any], unread: Sequence[str] = ()):
        for key in HARMLESS:
            c.get(key)
        self.path, self.name, self.left = c.path, c["architecture"], dict(c.get("model_args") or {})
        for key, legal in fixed.items():
            if self.left.pop(key, legal) != legal:
                raise XfmError(
                    f"{self.path} sets {key} among the model_args of {self.name}; xfm has this network with {legal}"
                )
        for key in (*OF_TRAINING, "num_classes", *unread):
            self.left.pop(key, None)

    def take(self, key: str, default: Any) -> Any:
        """The value of an argument."""
        return self.left.pop(key, default)

    def sides(self, key: str, default: Any) -> tuple[int, int]:
        """The value of an argument that is one number or two, as (rows, columns)."""
        value = self.take(key, default)
        return (value, value) if isinstance(value, int) else tuple(value)

    def finish(self) -> None:
        """Raises XfmError if an argument was not taken."""
        if self.left:
            raise XfmError(
                f"{self.path} sets {', '.join(self.left)} among the model_args of {self.name}, which xfm does not know"
            )


def refuse(wrong: bool, c: Settings, keys: str, right: str) -> None:
    """Raises XfmError if a value is wrong.  keys: of the model_args that have it.  right: what xfm reads, in words."""
    if wrong:
        raise XfmError(f"{c.path} sets {keys} among the model_args of {c['architecture']}; xfm reads {right}")


def argument(c: Settings, key: str, default: Any) -> Any:
    """The value of one of the model_args of a config.json."""
    return (c.get("model_args") or {}).get(key, default)


def black(c: Settings, *sides: int) -> dict[str, np.ndarray]:
    """A batch of one black image of (rows, columns) of pixels, with the network's channels."""
    return dict(images=np.zeros((1, *sides, argument(c, "in_chans", 3)), np.float32))


def classes(c: Settings) -> int:
    """The number of classes of a classification head."""
    return argument(c, "num_classes", c.get("num_classes", 1000))
