import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import linear_regression  # noqa: E402

from xfm.train import curve  # noqa: E402

DRAW = curve.draw_curve


@pytest.fixture(scope="module", autouse=True)
def undrawn():
    """Runs draw no curve, which takes longer than the rest of a small one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(curve, "draw_curve", lambda workdir, *_: workdir / curve.FILE)
        yield


@pytest.fixture
def drawn(monkeypatch):
    """Runs draw their curves as ever."""
    monkeypatch.setattr(curve, "draw_curve", DRAW)


@pytest.fixture
def linear(monkeypatch):
    """The dummy objective and data, in the place where the loop looks for them."""
    linear_regression.install(monkeypatch.setattr)
    return linear_regression
