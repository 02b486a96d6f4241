"""The published recipes of augmentation as plain data: the `ops` or `views` of config.augment.

They are from memory of the papers and their programs: check one before a long run. Crops are made of images that the
data gives a little larger (`data.stored`), not of the files' own sizes. Mixup, cutmix and label smoothing are the
objective's (xfm/objectives/classification.py), repeated augmentation is config.repeats, stochastic depth the network's.
"""

from typing import Any

Ops = list[dict[str, Any]]
IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def deit(size: int = 224, erase: float = 0.25, ramp: int = 0) -> Ops:
    """Touvron et al. 2021, table 9. Swin, ConvNeXt and the fine-tuning of MAE and BEiT use the same."""
    return [
        dict(kind="random_resized_crop", size=size),
        dict(kind="flip"),
        dict(kind="rand_augment", count=2, magnitude=9.0, deviation=0.5, ramp=ramp),
        dict(kind="erase", chance=erase),
    ]


def deit_iii(size: int = 224, crop: str = "simple_crop", jitter: float = 0.3) -> Ops:
    """3-Augment: Touvron, Cord, Jégou 2022, section 3.2; crop "random_resized_crop" for ImageNet-1k alone at length."""
    three = [dict(kind="grey", chance=1.0), dict(kind="solarize", chance=1.0), dict(kind="blur", chance=1.0)]
    colours = dict(kind="colour_jitter", brightness=jitter, contrast=jitter, saturation=jitter)
    return [dict(kind=crop, size=size), dict(kind="flip"), dict(kind="one_of", ops=three), colours]


def inception(size: int = 224, area: tuple[float, float] = (0.05, 1.0)) -> Ops:
    """ViT's own: Dosovitskiy et al. 2021, with crops as Szegedy et al. 2015; MAE pre-trains with area (0.2, 1)."""
    return [dict(kind="random_resized_crop", size=size, area=area, filter="bilinear"), dict(kind="flip")]


def augreg(size: int = 224, count: int = 2, magnitude: float = 15.0) -> Ops:
    """Steiner et al. 2022, section 3.2: ("light1" to "strong2") RandAugment of 0 to 2 operations, magnitude 10 to 20 of
    30 there, which is 3.3 to 6.7 here; mixup with 0 to 0.8 comes from the objective.
    """
    ops = inception(size)
    return (
        [*ops, dict(kind="rand_augment", count=count, magnitude=magnitude / 3, deviation=0.0, chance=1.0)]
        if count
        else ops
    )


def dino(local: int = 8, size: int = 224, small: int = 96) -> dict[str, Ops]:
    """Caron et al. 2021, appendix: two global views and `local` small ones, by the names of their arrays."""
    jitter = dict(kind="colour_jitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, chance=0.8)

    def view(size, area, blur, solarize=0.0):
        crop = dict(kind="random_resized_crop", size=size, area=area)
        ops = [crop, dict(kind="flip"), jitter, dict(kind="grey", chance=0.2), dict(kind="blur", chance=blur)]
        return [*ops, dict(kind="solarize", chance=solarize)] if solarize else ops

    views = {"images": view(size, (0.4, 1.0), 1.0), "global_1/images": view(size, (0.4, 1.0), 0.1, 0.2)}
    return views | {f"local_{i}/images": view(small, (0.05, 0.4), 0.5) for i in range(local)}


RECIPES = {
    "deit": deit(),
    "swin": deit(),
    "convnext": deit(),
    "mae_finetune": deit(),
    "deit_iii": deit_iii(),
    "vit": inception(),
    "mae": inception(area=(0.2, 1.0)),
    "augreg": augreg(),
}
