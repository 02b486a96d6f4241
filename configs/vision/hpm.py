"""HPM: MAE that predicts its own loss at each patch, and hides the patches that are hard.

Wang, Song, Fan, Wang, Xie, Zhang, "Hard Patches Mining for Masked Image Modeling", 2023; with video as well, "Bootstrap
Masked Visual Modeling via Hard Patches Mining", 2023.

Reproduced: the network with a second decoder, parameter for parameter, the ranking loss, the teacher, and the recipe of
the authors' program for 800 epochs, which predicts pixels as they are. Different from it: the share of patches that are
chosen by loss grows with each step, not with each epoch. Not here: features as targets, and video.
Command: xfm train configs/vision/hpm.py:B --workdir runs/hpm --config.data.path=IMAGENET/train
Cost: not known.  Result: not run at scale.
`tiny` is for two CPU cores: 200 steps on the digits of scikit-learn. Result of the tiny run: a
loss of 0.33 where the mean pixel has 0.57, half of the hidden patches being chosen by predicted loss; the ranks of
predicted and true losses of hidden patches correlate by 0.65. The mean digit, for which no pixel need be seen, has 0.29
for patches hidden at random: the run ends before the network uses what is visible, as that of vision/mae does.
"""

from xfm.configs.vision import mae

PAPER = "Wang et al. 2023, HPM: Hard Patches Mining for Masked Image Modeling"
ORACLE = "the ranking loss by pairs; the masks by their definition; the parameter counts of the authors' program"
MARGIN = 0.1  # of the mean squared error of pixels

SIZES = {name: mae.SIZES[name] for name in ("B", "L")}  # layers, width, heads, patch
VARIANTS = ("tiny", *SIZES)
PARAMETERS = {"B": 137_521_920, "L": 355_155_968}  # with both tables of positions, which are not trained


def with_losses(spec):
    """MAE's network with a second decoder of what the first one's embedding makes, alike but for its head's name."""
    first = spec["decoder"]
    second = {name: first[name] for name in ("pattern", "repeats", "norms", "norm")}
    second |= dict(
        embed=dict(kind="stream", width=first["embed"]["width"]), heads=dict(losses=first["heads"]["patches"])
    )
    return {**spec, "decoder": dict(first, taps=(0,)), "beside": dict(inner_0=second)}


def get_config(arg="B"):
    c = mae.get_config("tiny" if arg == "tiny" else arg)
    c.model = with_losses(c.model.to_dict())
    c.objective = dict(kind="hard_patches", mask=dict(kind="by_loss", rate=0.75, hard=(0.0, 0.5)))
    c.objective["target"] = dict(kind="pixels", scale="image")
    for one in c.evals:
        if one["kind"] == "reconstructions":
            one["scale"] = "image"
    if arg == "tiny":
        c.objective.update(over=200, momentum=(0.9, 0.99, 100))
        return c
    c.batch = 256
    steps_per_epoch = 1_281_167 // c.batch
    c.steps = 800 * steps_per_epoch
    c.objective.update(over=c.steps, momentum=(0.999, 0.9999, 100 * steps_per_epoch))
    c.schedule = dict(kind="cosine", peak=1.5e-4 * c.batch / 256, warmup=40 * steps_per_epoch)
    c.eval_every = c.save_every = 10 * steps_per_epoch
    return c
