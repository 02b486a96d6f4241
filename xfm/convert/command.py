"""The command `xfm convert`: writes a checkpoint or a run as a folder, or lists what would become of each tensor."""

from pathlib import Path

from xfm.convert.export import run_checkpoint, trained_alone
from xfm.errors import XfmError
from xfm.folders import is_run
from xfm.hub.checkpoint import load, prepared
from xfm.hub.weights import file_pieces


def convert(
    source: str | Path,
    dest: str | Path,
    *,
    head: str | None = None,
    revision: str | None = None,
    dtype: str | None = None,
) -> Path:
    """Writes a checkpoint or a run to the folder `dest`, and returns it.

    source: a folder or a name on the Hub, or the workdir of a run.  head, revision, dtype: as in `load` and `save`.
    If `dest` ends in .npz, only what a run with transforms trained is written (see `xfm.transforms.saved`).
    """
    if Path(dest).suffix == ".npz":
        _whole_run(head, revision)
        if dtype is not None:
            raise XfmError("a file .npz holds the parameters as they were trained; --dtype is for folders")
        return trained_alone(source, Path(dest))
    if not is_run(source):
        return load(source, head=head, revision=revision).save(dest, dtype=dtype)
    _whole_run(head, revision)
    with run_checkpoint(source) as (checkpoint, about):
        return checkpoint.save(dest, dtype=dtype, about=about)


def mapping(source: str | Path, *, head: str | None = None, revision: str | None = None) -> str:
    """A table with a line per tensor: its name in the file, shape, dtype, and parameter, or why it is not used."""
    if is_run(source):
        _whole_run(head, revision)
        with run_checkpoint(source) as (checkpoint, about):
            return "\n".join([_of_run(checkpoint), *(f"note: {note}" for note in about["notes"])])
    with prepared(source, head, revision) as plan:
        tensors = plan.tensors
        rows = [
            (piece.at.name, _where(piece), tensors.shape(piece.at.name), tensors.dtype(piece.at.name))
            for pieces in plan.assigned.values()
            for piece in pieces
        ]
        order = {name: i for i, name in enumerate(tensors)}
        rows.sort(key=lambda row: order[row[0]])
        left = [(n, f"unused: {why}", tensors.shape(n), tensors.dtype(n)) for n, why in plan.unused.items()]
        return _table([*rows, *left])


def _of_run(checkpoint) -> str:
    from flax import traverse_util

    c, flat = checkpoint, traverse_util.flatten_dict(checkpoint.params, sep="/")
    named = file_pieces(c.family, c.heads, c.network.sublayers(), {path: x.shape for path, x in flat.items()})
    return _table(
        (name, _where(piece), piece.file_shape(), flat[piece.path].dtype.name)
        for name, parts in named.items()
        for piece in parts
    )


def _where(piece) -> str:
    (i, parts), layer = piece.at.part, piece.layer if isinstance(piece.layer, tuple) else (piece.layer,)
    index = ", ".join(f"{one.start}:" if isinstance(one, slice) else str(one) for one in layer if one is not None)
    return f"{piece.path}{f'[{index}]' if index else ''}" + (f"  (part {i + 1} of {parts})" if parts > 1 else "")


def _table(rows) -> str:
    rows = [(name, path, "×".join(map(str, shape)) or "1", str(dtype)) for name, path, shape, dtype in rows]
    rows.insert(0, ("tensor", "parameter", "shape", "dtype"))
    wide = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(f"{n:{wide[0]}}  {s:{wide[2]}}  {d:{wide[3]}}  {p}" for n, p, s, d in rows)


def _whole_run(head: str | None, revision: str | None) -> None:
    if head is not None or revision is not None:
        raise XfmError("a run is converted as a whole; --head and --revision are for checkpoints of the Hub only")
