"""Writes tests/goldens/processors.npz: what transformers' image processors make of three small pictures.

    oracle/bin/pip install transformers==5.24.0 torch torchvision pillow
    oracle/bin/python -m tests.hub.make_processors

For each case it holds `config/NAME`, preprocessor_config.json, and of each picture I the image [H W C] that the slow
class makes of it with Pillow, `pil/NAME/I`, and the fast one with torchvision, `fast/NAME/I`, in 16 bits if both are
there. DINOv3's class has no slow form.
"""

import json
from pathlib import Path

import numpy as np
import transformers

from tests.hub.processors import CASES, pictures

PATH = Path(__file__).parents[1] / "goldens" / "processors.npz"


def made(processor):
    images = processor(pictures())["pixel_values"]
    return [np.asarray(image, np.float32).transpose(1, 2, 0) for image in images]


if __name__ == "__main__":
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
