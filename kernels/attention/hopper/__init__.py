"""Attention on Hopper GPUs by Pallas Mosaic GPU kernels; `entry` says what they take."""
