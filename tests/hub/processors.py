"""The image processors whose goldens tests/goldens/processors.npz holds, and the pictures that they are given."""

import numpy as np

# name -> (class in transformers, values that differ from its defaults)
CASES = {
    "vit": ("ViTImageProcessor", dict(size=dict(height=14, width=10))),
    "vit_number": ("ViTImageProcessor", dict(size=12, resample=3, do_center_crop=True, crop_size=9)),
    "vit_raw": ("ViTImageProcessor", dict(size=12, do_rescale=False, image_mean=[127.5] * 3, image_std=[50.0] * 3)),
    "vit_unscaled": ("ViTImageProcessor", dict(size=12, rescale_factor=1 / 127.5, do_normalize=False)),
    "vit_longest": ("ViTImageProcessor", dict(size=dict(shortest_edge=10, longest_edge=14), do_pad=True)),
    "vit_within": ("ViTImageProcessor", dict(size=dict(max_height=12, max_width=9), do_pad=True, pad_size=13)),
    "vit_nearest": ("ViTImageProcessor", dict(size=12, resample=0)),
    "deit": ("DeiTImageProcessor", dict(size=13, crop_size=11)),
    "beit": ("BeitImageProcessor", dict(size=12, do_center_crop=True, crop_size=dict(height=8, width=9))),
    "dinov2": ("BitImageProcessor", dict(size=dict(shortest_edge=13), crop_size=11, **{
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]})),
    "clip": ("CLIPImageProcessor", dict(size=12, crop_size=12)),
    "clip_small": ("CLIPImageProcessor", dict(size=8, crop_size=11)),
    "siglip": ("SiglipImageProcessor", dict(size=dict(height=12, width=12))),
    "convnext": ("ConvNextImageProcessor", dict(size=12)),
    "convnext_share": ("ConvNextImageProcessor", dict(size=dict(shortest_edge=10), crop_pct=0.95, resample=2)),
    "poolformer": ("PoolFormerImageProcessor", dict(size=12, crop_size=12)),
    "poolformer_sides": ("PoolFormerImageProcessor", dict(size=dict(height=12, width=10), crop_size=10)),
    "levit": ("LevitImageProcessor", dict(size=12, crop_size=12)),
    "pvt": ("PvtImageProcessor", dict(size=12)),
    "segformer": ("SegformerImageProcessor", dict(size=12)),
    "dinov3": ("DINOv3ViTImageProcessor", dict(size=12)),
    "dinov3_cropped": ("DINOv3ViTImageProcessor", dict(size=dict(shortest_edge=13), do_center_crop=True, crop_size=12)),
}  # fmt: skip


def pictures() -> list[np.ndarray]:
    """Three pictures uint8 [H W 3]: smooth with an edge and some noise; larger, smaller and oblong."""
    rng, found = np.random.default_rng(0), []
    for height, width in ((41, 30), (9, 13), (25, 60)):
        y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
        bands = [np.sin(7 * x + 5 * y * k) * 0.4 + 0.5 + 0.3 * (x > y) for k in (1, 2, 3)]
        noise = rng.normal(0, 0.1, (height, width, 3))
        found.append((255 * np.clip(np.stack(bands, -1) + noise, 0, 1)).astype(np.uint8))
    return found


IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
# name -> (classes in transformers, of images and of videos, values that differ from their defaults)
VIDEOS = {
    "videomae": ("VideoMAEImageProcessorPil", "VideoMAEVideoProcessor", dict(
        size=dict(shortest_edge=13), crop_size=dict(height=12, width=9), **IMAGENET)),
    "videomae_sides": ("VideoMAEImageProcessorPil", "VideoMAEVideoProcessor", dict(
        size=dict(height=12, width=10), resample=3, do_center_crop=False)),
    "vivit": ("VivitImageProcessor", "VivitVideoProcessor", dict(
        size=dict(shortest_edge=14), crop_size=dict(height=11, width=11))),
    "vivit_not_moved": ("VivitImageProcessor", None, dict(
        size=dict(shortest_edge=12), crop_size=dict(height=12, width=12), offset=False, rescale_factor=1 / 255)),
    "timesformer": (None, "TimesformerVideoProcessor", dict(
        size=dict(shortest_edge=12), crop_size=dict(height=12, width=12))),
    "timesformer_sampled": (None, "TimesformerVideoProcessor", dict(
        size=dict(shortest_edge=12), crop_size=dict(height=12, width=12), do_sample_frames=True, num_frames=3)),
}  # fmt: skip


def videos() -> list[np.ndarray]:
    """Two videos uint8 [T H W 3] of five frames and other sizes: pictures that move to the right."""
    return [np.stack([np.roll(one, 3 * t, axis=1) for t in range(5)]) for one in pictures()[::2]]
