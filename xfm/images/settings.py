"""The settings of image processors in the Hub's files, preprocessor_config.json or processor_config.json.

The classes, and the values that their files may leave out, are those of transformers 5.24. Keys of other classes are
ignored there and here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfm.errors import XfmError, nearest
from xfm.fields import Count, Number, Positive, fits, shown
from xfm.folders import read_json
from xfm.images.processor import Pair, Processor, Size
from xfm.images.video import VideoProcessor

FILES = ("processor_config.json", "preprocessor_config.json")
HALF = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)
IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
OPENAI = dict(image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711])
SQUARE = dict(size=224, default_to_square=True, resample=3)
SHORTEST = dict(size=224, default_to_square=False, resample=3)
CROPPED = dict(do_center_crop=True, crop_size=224)

# class, without Fast and Pil -> the values that its files may leave out
CLASSES: Mapping[str, Mapping[str, Any]] = {
    "ViT": SQUARE | HALF | dict(resample=2),
    "DeiT": SQUARE | HALF | CROPPED | dict(size=256),
    "Beit": SQUARE | HALF | dict(crop_size=224),
    "Bit": SHORTEST | OPENAI | CROPPED,
    "CLIP": SHORTEST | OPENAI | CROPPED,
    "ConvNext": SHORTEST | HALF | dict(size=384, crop_pct=0.875),
    "DINOv3ViT": SQUARE | IMAGENET | dict(resample=2),
    "Levit": SHORTEST | IMAGENET | CROPPED,
    "PoolFormer": SHORTEST | IMAGENET | CROPPED | dict(crop_pct=0.9),
    "Pvt": SQUARE | IMAGENET,
    "Segformer": SQUARE | IMAGENET | dict(size=512, resample=2),
    "Siglip": SHORTEST | HALF | dict(size=dict(height=224, width=224)),
}
# model_type -> class, for files that name none, as the oldest do
CLASS_OF = {
    "vit": "ViT", "deit": "DeiT", "beit": "Beit", "data2vec-vision": "Beit", "dinov2": "Bit",
    "dinov2_with_registers": "Bit", "dinov3_vit": "DINOv3ViT", "dinov3_convnext": "DINOv3ViT", "swin": "ViT",
    "swinv2": "ViT", "convnext": "ConvNext", "convnextv2": "ConvNext", "poolformer": "PoolFormer", "clip": "CLIP",
    "clip_vision_model": "CLIP", "siglip": "Siglip", "siglip_vision_model": "Siglip", "segformer": "Segformer",
    "vit_mae": "ViT", "vit_msn": "ViT", "ijepa": "ViT", "hiera": "Bit", "pvt": "Pvt", "pvt_v2": "Pvt",
    "levit": "Levit", "focalnet": "Bit",
}  # fmt: skip
ALWAYS = dict(do_resize=True, do_rescale=True, rescale_factor=1 / 255, offset=False, do_normalize=True,
              do_center_crop=False)  # fmt: skip
NEVER_PADDED = ("ConvNext", "DINOv3ViT", "Beit", "Segformer", "VideoMAE", "Vivit", "Timesformer")
FILTERS = range(6)  # Pillow's numbers


VIDEOS: Mapping[str, Mapping[str, Any]] = {
    "VideoMAE": SHORTEST | HALF | CROPPED | dict(resample=2),
    "Vivit": SHORTEST | HALF | CROPPED | dict(size=256, resample=2, rescale_factor=1 / 127.5, offset=True),
    "Timesformer": SHORTEST | IMAGENET | CROPPED | dict(resample=2),
}
VIDEO_CLASS_OF = {"videomae": "VideoMAE", "vivit": "Vivit", "timesformer": "Timesformer"}


def read_processor(folder: Path, config: Mapping[str, Any]) -> Processor:
    """The image processor of the checkpoint in `folder`.  config: the content of config.json.

    Raises XfmError if the folder has none, or one of a class that xfm does not have, or if its values do not fit.
    """
    path, content = _content(folder)
    return processor_of(content, str(path), config)


def read_video_processor(folder: Path, config: Mapping[str, Any]) -> VideoProcessor:
    """The video processor of the checkpoint in `folder`; arguments and errors as in `read_processor`."""
    path, content = _content(folder, ("video_processor", "image_processor"), ("video_preprocessor_config.json",))
    return video_processor_of(content, str(path), config)


def video_processor_of(content: Mapping[str, Any], path: str, config: Mapping[str, Any]) -> VideoProcessor:
    """The processor of videos that the content of a file describes, as in `processor_of`.

    Raises XfmError where it chooses frames by their rate, which an array of frames does not have.
    """
    count = content.get("num_frames") if content.get("do_sample_frames") else None
    if content.get("do_sample_frames") and not fits(count, Count):
        raise XfmError(
            f"{path} sets do_sample_frames and num_frames to {shown(count)}; it must be a number of frames, since the "
            "rate of the frames that are given is not known"
        )
    return VideoProcessor(processor_of(content, path, config, VIDEOS), count)


def processor_of(
    content: Mapping[str, Any], path: str, config: Mapping[str, Any], classes: Mapping[str, Any] = CLASSES
) -> Processor:
    """The processor that the content of a file describes; `path` is its name in errors. Raises XfmError as above.

    classes: those that the file may name, CLASSES or VIDEOS.
    """
    name = _class(content, path, config, classes)
    given = {key: value for key, value in content.items() if value is not None}
    values = {**ALWAYS, **classes[name], **given}
    if content.get("video_processor_type"):  # whose classes know no other offset
        values |= {key: value for key, value in classes[name].items() if key == "offset"}
    channels = _channels(config, path)
    on = lambda key: _truth(values, key, path)  # noqa: E731
    mean, std = (_numbers(values, key, channels, path) for key in ("image_mean", "image_std"))
    resample = values["resample"]
    if resample not in FILTERS:
        raise XfmError(f"{path} sets resample to {shown(resample)}; it must be a number of Pillow's filters, 0 to 5")
    resize, crop = None, None
    if on("do_resize"):
        resize, crop = _resize(name, values, path)
    if on("do_center_crop"):
        crop = _sides(_dict(values, "crop_size", True, path), "crop_size", path)
    return Processor(
        channels=channels,
        resize=resize,
        resample=int(resample),
        crop=crop,
        scale=_number(values, "rescale_factor", path) if on("do_rescale") else None,
        shift=-1.0 if on("do_rescale") and on("offset") else 0.0,
        mean=mean if on("do_normalize") else None,
        std=std if on("do_normalize") else None,
        pad=_pad(values, path) if name not in NEVER_PADDED else None,
        first="scale" if name == "DINOv3ViT" else "resize",
    )


def _content(
    folder: Path, keys: tuple[str, ...] = ("image_processor",), more: tuple[str, ...] = ()
) -> tuple[Path, Mapping[str, Any]]:
    """The first file that describes a processor, and the description.

    keys: under which FILES[0], which describes several, may have it.  more: names of files before FILES[1].
    """
    for name in (FILES[0], *more, FILES[1]):
        if (folder / name).exists():
            content = read_json(folder / name)
            if name != FILES[0]:
                return folder / name, content
            if (
                found := next((content[key] for key in keys if isinstance(content.get(key), Mapping)), None)
            ) is not None:
                return folder / name, found
    raise XfmError(
        f"{folder} has no {FILES[1]}, so it does not say how images are prepared; copy it from the checkpoint"
    )


def _class(content: Mapping[str, Any], path: str, config: Mapping[str, Any], classes: Mapping[str, Any]) -> str:
    types = (f"{one}_type" for one in ("video_processor", "image_processor", "feature_extractor"))
    named = next((content[one] for one in types if content.get(one)), None)
    if named is None:
        kind, usual = config.get("model_type"), VIDEO_CLASS_OF if classes is VIDEOS else CLASS_OF
        if kind not in usual:
            raise XfmError(f"{path} does not name its image_processor_type, and {shown(kind)} has no usual one; add it")
        return usual[kind]
    name = str(named).removesuffix("Pil").removesuffix("Fast")
    for end in ("VideoProcessor", "ImageProcessor", "FeatureExtractor"):
        name = name.removesuffix(end)
    if name not in classes:
        legal = ", ".join(f"{one}ImageProcessor" for one in classes)
        raise XfmError(f"{path} has the image_processor_type {shown(named)}{nearest(name, classes)}; xfm has {legal}")
    return name


def _resize(name: str, values: Mapping[str, Any], path: str) -> tuple[Size, Pair | None]:
    """The size that pictures are scaled to, and the crop that goes with it."""
    size = _dict(values, "size", _truth(values, "default_to_square", path), path)
    if name == "ConvNext":
        side = _side(size, "shortest_edge", "size", path)
        if side >= 384:  # larger pictures are not cropped, but scaled to a square of any shape
            return Size("exact", (side, side)), None
        return Size("shortest", (int(side / _number(values, "crop_pct", path)),) * 2), (side, side)
    if name == "PoolFormer":
        share, square = _number(values, "crop_pct", path), size.get("height") == size.get("width")
        if "shortest_edge" in size or square:
            side = _side(size, "shortest_edge" if "shortest_edge" in size else "height", "size", path)
            return Size("shortest", (int(side / share),) * 2), None
        height, width = _sides(size, "size", path)
        return Size("exact", (int(height / share), int(width / share))), None
    if name == "Levit" and "shortest_edge" in size:
        side = int(256 / 224 * _side(size, "shortest_edge", "size", path))
        return Size("shortest", (side, side)), None
    if "shortest_edge" in size:
        side = _side(size, "shortest_edge", "size", path)
        longest = _side(size, "longest_edge", "size", path) if size.get("longest_edge") else None
        return Size("shortest", (side, side), longest), None
    if "max_height" in size and "max_width" in size:
        return Size("within", tuple(_side(size, key, "size", path) for key in ("max_height", "max_width"))), None
    return Size("exact", _sides(size, "size", path)), None


def _dict(values: Mapping[str, Any], key: str, square: bool, path: str) -> Mapping[str, Any]:
    """A size as a mapping; old files have one number, or two."""
    value = values.get(key)
    if isinstance(value, Mapping):
        return {name: one for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple) and len(value) == 2:
        return dict(height=value[0], width=value[1])
    return dict(height=value, width=value) if square else dict(shortest_edge=value)


def _sides(size: Mapping[str, Any], key: str, path: str) -> Pair:
    if not {"height", "width"} <= size.keys():
        raise XfmError(f"{path} sets {key} to {shown(dict(size))}; it must have height and width, or shortest_edge")
    return _side(size, "height", key, path), _side(size, "width", key, path)


def _side(size: Mapping[str, Any], side: str, key: str, path: str) -> int:
    if not fits(size.get(side), Count):
        raise XfmError(f"{path} sets {key} to {shown(dict(size))}; its {side} must be a number of pixels")
    return int(size[side])


def _pad(values: Mapping[str, Any], path: str):
    if not values.get("do_pad") or not _truth(values, "do_pad", path):
        return None
    return _sides(_dict(values, "pad_size", True, path), "pad_size", path) if values.get("pad_size") else "batch"


def _numbers(values: Mapping[str, Any], key: str, channels: int, path: str) -> tuple[float, ...]:
    value = values[key]
    if channels == 1 and isinstance(value, list | tuple) and len(set(map(str, value))) == 1:
        value = value[0]  # the same for every channel, as in the classes that were made for three
    each = tuple(value) if isinstance(value, list | tuple) else (value,) * channels
    kind = Positive if key == "image_std" else Number
    if len(each) != channels or not all(fits(one, kind) for one in each):
        above = " above 0" if key == "image_std" else ""
        raise XfmError(
            f"{path} sets {key} to {shown(value)}; it must be a number{above} for each of {channels} channels"
        )
    return tuple(map(float, each))


def _number(values: Mapping[str, Any], key: str, path: str) -> float:
    if not fits(values[key], Positive):
        raise XfmError(f"{path} sets {key} to {shown(values[key])}; it must be a number above 0")
    return float(values[key])


def _truth(values: Mapping[str, Any], key: str, path: str) -> bool:
    if not isinstance(values[key], bool):
        raise XfmError(f"{path} sets {key} to {shown(values[key])}; it must be true or false")
    return values[key]


def _channels(config: Mapping[str, Any], path: str) -> int:
    inside = config.get("vision_config")
    inside = inside if isinstance(inside, Mapping) else config
    channels = inside.get("num_channels", config.get("num_channels", 3))
    if channels not in (1, 3):
        raise XfmError(f"the network reads {shown(channels)} channels, and {path} describes images of 1 or 3")
    return channels
