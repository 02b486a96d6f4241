"""Reading JPEG files on two CPU cores: decode, crop, scale to 224 x 224 and normalise, xfm against PyTorch.

    python benchmarks/decode.py [--peer PYTHON_WITH_TORCH]

256 images of 500 x 375 pixels, cut from the two photographs of scikit-learn, in batches of 32 and in one order. xfm
reads rows in one thread per core (`Batches` of the source `images`); the peer is a DataLoader with two processes, which
are kept from call to call, and the same functions of Pillow. A call reads all images; the last batch is compared.
"""

import sys

from common import ROOT, THREADS, compare

COUNT, BATCH, WIDTH, HEIGHT, SIDE = 256, 32, 500, 375, 224


def write(folder):
    """The folders of training and validation images, which are written unless they are there."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    numbers = np.random.default_rng(0)
    for split, count in (("train", COUNT // 2), ("valid", 1)):
        for name, photograph in zip(("china", "flower"), load_sample_images().images, strict=True):
            (here := folder / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                top, left = (numbers.integers(0, most) for most in (427 - HEIGHT, 640 - WIDTH))
                cut = Image.fromarray(photograph[top : top + HEIGHT, left : left + WIDTH])
                if not (file := here / f"{i:03}.jpg").exists():
                    cut.save(file, quality=90)
    return folder / "train", folder / "valid"


def peer(folder):
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    class Files(torch.utils.data.Dataset):
        def __init__(self, paths):
            self.paths = paths

        def __len__(self):
            return len(self.paths)

        def __getitem__(self, i):
            with Image.open(self.paths[i]) as picture:
                picture = ImageOps.fit(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.BILINEAR)
            return (np.asarray(picture, np.float32) / 255 - 0.5) / 0.5

    paths = sorted(write(folder)[0].rglob("*.jpg"))
    loader = torch.utils.data.DataLoader(Files(paths), BATCH, num_workers=THREADS, persistent_workers=True)

    def call():
        for batch in loader:
            last = batch
        return last.numpy()

    return {"images": call}


def xfm(folder):
    sys.path.append(str(ROOT))
    from xfm.data.batches import Batches
    from xfm.data.images import Images

    train, valid = write(folder)
    batches = Batches(Images(path=str(train), size=SIDE, validation=str(valid)).open(folder).train, BATCH, None)

    def call():
        for step in range(COUNT // BATCH):
            last = batches.rows(step)["images"]
        return last

    return {"images": call}


if __name__ == "__main__":
    compare(__file__, __doc__.splitlines()[0], {"peer": peer, "xfm": xfm})
