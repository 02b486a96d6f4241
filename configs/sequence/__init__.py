"""Configs of state-space models, linear attention and their hybrids."""
