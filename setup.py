"""Two top-level folders are parts of the package: kernels/ is xfm.kernels, configs/ is xfm.configs.

Only the folder mapping stands here, because it is computed; everything else is in pyproject.toml.
"""

from setuptools import find_packages, setup

MOUNTED = {"xfm.kernels": "kernels", "xfm.configs": "configs"}

setup(
    package_dir={"xfm": "xfm", **MOUNTED},
    packages=find_packages(include=["xfm", "xfm.*"])
    + [name for mount in MOUNTED for name in (mount, *(f"{mount}.{p}" for p in find_packages(MOUNTED[mount])))],
)
