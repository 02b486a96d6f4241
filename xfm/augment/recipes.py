"""The published recipes of augmentation as plain data: the `ops` or `views` of config.augment.

The numbers of `deit`, `deit_iii`, `mae` and `dino` are those of the authors' programs. Crops are made of images that
the data gives a little larger (`data.stored`), not of the files' own sizes. Mixup, cutmix and label smoothing are the
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


def inception(size: int = 224, area: tuple[float, float] = (0.05, 1.0), filter: str = "bilinear") -> Ops:
    """ViT's own: Dosovitskiy et al. 2021, with crops as Szegedy et al. 2015."""
    return [dict(kind="random_resized_crop", size=size, area=area, filter=filter), dict(kind="flip")]


def mae(size: int = 224) -> Ops:
    """He et al. 2022, appendix A.1."""
    return inception(size, area=(0.2, 1.0), filter="bicubic")


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
    "mae": mae(),
}
