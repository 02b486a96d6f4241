"""State-space models, linear attention and their hybrids."""
