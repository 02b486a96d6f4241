"""Configs of vision transformers."""
