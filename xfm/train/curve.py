"""The loss curve of a run as a picture: training, validation, and the baseline to beat."""

from collections.abc import Mapping
from pathlib import Path

from xfm.train.logs import read_metrics

FILE = "loss.png"


def draw_curve(workdir: Path, title: str, baseline: Mapping[str, float], unit: str = "nats") -> Path | None:
    """Draws workdir/loss.png from metrics.jsonl; returns None if matplotlib is not installed (extra: xfm[log])."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    lines = read_metrics(workdir)
    figure = Figure(figsize=(7.5, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    looks = {
        "train": dict(color="#7aa6d8", linewidth=1.3, label="training"),
        "valid": dict(color="#c2452d", linewidth=2.0, marker="o", markersize=4, label="validation"),
    }
    for kind, look in looks.items():
        points = [(x["step"], x["loss"]) for x in lines if x["kind"] == kind and x.get("loss") is not None]
        if points:
            axes.plot(*zip(*points, strict=True), **look)
            if kind == "valid":
                step, loss = points[-1]
                axes.annotate(
                    f"{loss:.3f}",
                    (step, loss),
                    (0, 7),
                    textcoords="offset points",
                    ha="center",
                    color=look["color"],
                )
    for name, value in baseline.items():
        axes.axhline(
            value,
            color="#555555",
            linestyle="--",
            linewidth=1.2,
            label=f"{name} baseline, {value:.3f}",
        )
    axes.set_title(title, fontsize=13)
    axes.set_xlabel("step (updates)", fontsize=11)
    axes.set_ylabel(f"loss ({unit})", fontsize=11)
    axes.grid(alpha=0.25, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02, y=0.08)
    axes.legend(frameon=False, fontsize=10)
    path = workdir / FILE
    part = workdir / f".{FILE}"
    figure.savefig(part, format="png")
    part.replace(path)
    return path
