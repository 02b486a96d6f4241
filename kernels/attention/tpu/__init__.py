"""Attention on TPU by Pallas kernels; `entry` says how its files work together."""
