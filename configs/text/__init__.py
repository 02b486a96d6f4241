"""Configs of text encoders, with their pre-training recipes."""
