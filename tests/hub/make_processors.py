"""Writes tests/goldens/processors.npz: what transformers' image processors make of three small pictures.

    oracle/bin/pip install transformers==5.24.0 torch torchvision pillow
    oracle/bin/python -m tests.hub.make_processors

For each case it holds `config/NAME`, preprocessor_config.json, and of each picture I the image [H W C] that the slow
class makes of it with Pillow, `pil/NAME/I`, and the fast one with torchvision, `fast/NAME/I`, in 16 bits if both are
there. DINOv3's class has no slow form.

tests/goldens/video_processors.npz holds `config/NAME`, and of two small videos `image/NAME` [2 T H W C] that the class
of image processors makes, and `video/NAME`, in 16 bits, of the class of video processors, each where there is one.
"""

import json
from pathlib import Path

import numpy as np
import transformers

from tests.hub.processors import CASES, VIDEOS, pictures, videos

PATH = Path(__file__).parents[1] / "goldens" / "processors.npz"


def made(processor):
    images = processor(pictures())["pixel_values"]
    return [np.asarray(image, np.float32).transpose(1, 2, 0) for image in images]


def made_of_videos(processor, given):
    return np.stack([np.asarray(video, np.float32) for video in processor(given)["pixel_values"]]).transpose(
        0, 1, 3, 4, 2
    )


def write_videos():
    arrays = {}
    for name, (of_images, of_videos, values) in VIDEOS.items():
        kind = {"video_processor_type": of_videos} if of_images is None else {"image_processor_type": of_images}
        arrays[f"config/{name}"] = np.array(json.dumps({**values, **kind}))
        if of_images:
            given = [list(video) for video in videos()]
            arrays[f"image/{name}"] = made_of_videos(getattr(transformers, of_images)(**values), given)
        if of_videos:
            given = [video.transpose(0, 3, 1, 2) for video in videos()]
            metadata = [dict(total_num_frames=len(video), fps=1) for video in given]
            processor = getattr(transformers, of_videos)(**values)
            made = processor(given, video_metadata=metadata)["pixel_values"]
            made = np.stack([np.asarray(video, np.float32) for video in made]).transpose(0, 1, 3, 4, 2)
            arrays[f"video/{name}"] = made.astype(np.float16)
    path = PATH.with_name("video_processors.npz")
    np.savez_compressed(path, **arrays)
    print(path.stat().st_size, {key: a.shape for key, a in arrays.items() if a.ndim})


if __name__ == "__main__":
    write_videos()
    arrays = {}
    for name, (kind, values) in CASES.items():
        fast = getattr(transformers, kind)(**values)
        arrays[f"config/{name}"] = np.array(json.dumps({**values, "image_processor_type": kind}))
        both = {"fast": fast}
        if hasattr(transformers, f"{kind}Pil"):
            both["pil"] = getattr(transformers, f"{kind}Pil")(**values)
        for side, processor in both.items():
            arrays |= {f"{side}/{name}/{i}": image for i, image in enumerate(made(processor))}
        if "pil" in both:
            pil, quick = ([arrays[f"{side}/{name}/{i}"] for i in range(3)] for side in ("pil", "fast"))
            arrays |= {f"fast/{name}/{i}": image.astype(np.float16) for i, image in enumerate(quick)}  # half the bytes
            print(name, [float(np.abs(a - b).max()) for a, b in zip(pil, quick, strict=True)], [a.shape for a in pil])
    np.savez_compressed(PATH, **arrays)
    print(PATH.stat().st_size)
