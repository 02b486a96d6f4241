"""Converts runs of xfm to files that other libraries can read."""
