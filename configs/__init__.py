"""One file, one paper. Each has `get_config(arg)`, which returns an ml_collections.ConfigDict of plain data."""
