"""Augmentation on the device, in JAX: random changes of images, each row by its own key, as part of the training step.

`config.augment = dict(ops=recipes.deit())` is how a config says it; RECIPES holds the published ones.
"""

from xfm.augment.augment import Augment, augment_of
from xfm.augment.operations import OPERATIONS
from xfm.augment.recipes import RECIPES

__all__ = ["OPERATIONS", "RECIPES", "Augment", "augment_of"]
