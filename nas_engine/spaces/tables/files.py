"""Reading tables of results: a published benchmark, or a table of your own as ``.npz``, JSON or CSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.metrics import MACS, PARAMS, TOP1, declarations
from nas_engine.spaces.tables.document import MAX_BYTES, parse_table
from nas_engine.spaces.tables.space import TableColumn, TableSpace


def read_table(path: Path) -> TableSpace:
    """A table of your own, by the file's suffix: `read_npz` or `read_document`.

    Raises:
        InvalidSpaceError: another suffix, or as the readers.
    """
    match path.suffix.lower():
        case ".npz":
            return read_npz(path)
        case ".csv" | ".json":
            return read_document(path)
        case suffix:
            raise InvalidSpaceError(f"table {path}: suffix {suffix!r} is not known; give .npz, .csv or .json")


def nas_bench_macro(path: Path) -> TableSpace:
    """NAS-Bench-Macro on CIFAR-10 (Su et al. 2021, arXiv 2103.11922): all 6,561 networks of 8 layers and 3 operators.

    Args:
        path: ``nasbench_macro_cifar10.npz`` with arch, op_names, test_acc (percent, 3 seeds), params, macs.
    """
    arrays = _arrays(path)
    return TableSpace(
        "nas-bench-macro-cifar10",
        _array(arrays, "arch", path),
        [
            TableColumn(TOP1, _array(arrays, "test_acc", path).astype(np.float64), scale=0.01),
            TableColumn(MACS, _array(arrays, "macs", path).astype(np.float64)),
            TableColumn(PARAMS, _array(arrays, "params", path).astype(np.float64)),
        ],
        options=[str(name) for name in _array(arrays, "op_names", path)],
        stage_sizes=(2, 3, 3),
    )


def read_npz(path: Path) -> TableSpace:
    """A table of your own from an ``.npz``: ``genotypes`` (rows, genes) and one array per metric, named by its label.

    Optional: ``options`` (labels of the choices) and ``stage_sizes`` (genes per stage). Metrics are in their own unit
    (top1 as a fraction); an array (rows, runs) holds repeated runs.

    Raises:
        InvalidSpaceError: the file cannot be read, lacks an array, or its content is malformed.
    """
    arrays = _arrays(path)
    known = {"genotypes", "options", "stage_sizes"}
    labels = {metric.name: metric for metric in (one.metric for one in declarations())}
    unknown = set(arrays) - known - set(labels)
    if unknown:
        raise InvalidSpaceError(
            f"table {path}: unknown arrays {', '.join(sorted(unknown))}; "
            f"known are {', '.join([*sorted(known), *labels])}"
        )
    columns = [TableColumn(labels[n], a.astype(np.float64)) for n, a in arrays.items() if n in labels]
    return TableSpace(
        path.stem,
        _array(arrays, "genotypes", path),
        columns,
        options=[str(o) for o in arrays["options"]] if "options" in arrays else None,
        stage_sizes=[int(s) for s in arrays["stage_sizes"]] if "stage_sizes" in arrays else None,
    )


def read_document(path: Path) -> TableSpace:
    """A table of your own from a JSON or CSV file; see `nas_engine.spaces.tables.document`.

    Raises:
        InvalidSpaceError: the file cannot be read, or a value is malformed (its row or line is named).
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidSpaceError(f"table {path} has more than {MAX_BYTES:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise InvalidSpaceError(f"table {path} cannot be read: {error.strerror}") from error
    return parse_table(content, path.stem)


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise InvalidSpaceError(f"table {path} cannot be read as .npz without pickled objects: {error}") from error


def _array(arrays: Mapping[str, NDArray[np.generic]], name: str, path: Path) -> NDArray[np.generic]:
    if name not in arrays:
        raise InvalidSpaceError(f"table {path} lacks the array {name!r}: found {', '.join(arrays)}")
    return arrays[name]
