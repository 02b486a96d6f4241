"""Token boosting: an MAE whose encoder removes what an autoencoder takes for corruption of its tokens.

Li, Foo, Hu, Shang, Rahmani, Yuan, Liu, "Token Boosting for Robust Self-Supervised Visual Transformer Pre-training",
2023.

Reproduced: the module (figure 2, equation 1), whose learned noise and reconstruction loss train with the masked
autoencoding; the recipe is that of vision/mae, and the data is to be as corrupted as it is in use. Ours, since they
could not be looked up: four modules, evenly spread over the layers, an autoencoder of half the stream's width, the
weight 1 of its loss, the size at which the noise starts, and that evaluation adds no noise.
Command: xfm train configs/vision/token_boosting.py:H14 --workdir runs/boosted --config.data.path=IMAGENET_C/train
Cost: 800 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: 200 steps on the digits of scikit-learn, with two modules. Result of the tiny run (one
seed): a loss of 0.304 where the mean pixel has 0.569; that of vision/mae:tiny is 0.30. The mean digit, for which no
pixel need be seen, has 0.289: the run ends before the network uses what is visible.
Not shown is that the modules help a network: 250 steps with patches of 2 x 2 on digits with noise of deviation 0.7
ended alike with two modules and with none, at a squared error of 0.289 to the clean hidden pixels (two seeds), that of
the mean digit. A module by itself does remove noise (tests/parts/test_token_boosting.py).
"""

from xfm.configs.vision import mae

PAPER = "Li et al. 2023, Token Boosting for Robust Self-Supervised Visual Transformer Pre-training"
ORACLE = "the identities and the formula of the module in NumPy (tests/parts/test_token_boosting.py); MAE's counts"
MARGIN = 0.1  # of the mean squared error of pixels

MODULES = 4
VARIANTS = ("tiny", *mae.SIZES)


def module_size(width):
    """The number of a module's parameters: two linear maps, and a deviation for each channel."""
    hidden = width // 2
    return 2 * width * hidden + hidden + width + width


PARAMETERS = {name: mae.PARAMETERS[name] + MODULES * module_size(width) for name, (_, width, *_) in mae.SIZES.items()}


def boosted(spec, modules):
    """The spec of a stack in which as many modules are spread over the layers, the last one after the last layer."""
    module = dict(kind="token_boosting", hidden=spec["embed"]["width"] // 2)
    instead = dict(part=module, norms={}, residual=dict(kind="scaled", skip=0.0))  # in the place of the stream
    layers, rest = divmod(spec["repeats"], modules)
    if rest:
        raise ValueError(f"{modules} modules cannot be spread evenly over {spec['repeats']} layers")
    return {**spec, "pattern": [*layers * spec["pattern"], instead], "repeats": modules}


def get_config(arg="H14"):
    c = mae.get_config(arg)
    c.model = boosted(c.model.to_dict(), 2 if arg == "tiny" else MODULES)
    c.objective["sown"] = dict(reconstruction=1.0)
    return c
