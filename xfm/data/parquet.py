"""Rows of a Parquet file as Python values. Text that is not UTF-8 is returned as bytes, for the caller to decode."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.files import first_line, optional


def columns(path: Path) -> list[str]:
    """The names of the columns. Raises XfmError, naming the file, if it is not a readable Parquet file."""
    try:
        return optional("pyarrow.parquet", "data").ParquetFile(path).schema_arrow.names
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise _unreadable(path, error) from error


def rows(path: Path, names: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Each row as a dict of the columns `names`, by default of all. Raises XfmError as `columns` does."""
    parquet = optional("pyarrow.parquet", "data")
    try:
        for batch in parquet.ParquetFile(path).iter_batches(columns=names):
            found = [_values(column) for column in batch.columns]
            for number in range(batch.num_rows):
                yield {name: values[number] for name, values in zip(batch.schema.names, found, strict=True)}
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _values(column: Any) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        if hasattr(scalar, "as_buffer"):
            return scalar.as_buffer().to_pybytes()
        if hasattr(scalar, "keys"):
            return {key: _value(scalar[key]) for key in scalar}
        return [_value(one) for one in scalar.values]


def _unreadable(path: Path, error: Exception) -> XfmError:
    return XfmError(f"{path} is not a readable parquet file: {first_line(error)}")
