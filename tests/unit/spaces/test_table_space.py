"""A table of results as a search space: read from .npz and CSV, looked up, refused with the row named."""

from __future__ import annotations

import hashlib
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from nas_engine.domain.errors import InvalidArchitectureError, InvalidGenotypeError, InvalidSpaceError
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Objective
from nas_engine.domain.search_space import Form
from nas_engine.search.algorithm import CheapCheck, Observation, SearchProblem
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.algorithms import Nsga2Settings
from nas_engine.spaces.tables.files import nas_bench_macro, read_npz, read_table
from nas_engine.spaces.tables.space import TableColumn, TableSpace

GENOTYPES = np.asarray(list(product(range(3), range(2), range(2))))


def make_table(**changes: object) -> TableSpace:
    arguments: dict[str, object] = {
        "genotypes": GENOTYPES,
        "columns": [
            TableColumn(TOP1, np.stack([GENOTYPES.sum(axis=1) * 10.0, GENOTYPES.sum(axis=1) * 10.0 + 2], 1), 0.01),
            TableColumn(MACS, GENOTYPES @ np.asarray([100.0, 10.0, 1.0])),
        ],
        **changes,
    }
    return TableSpace("toy", **arguments)  # type: ignore[arg-type]


def test_a_row_gives_the_mean_over_runs_and_its_standard_error() -> None:
    found = make_table().lookup((2, 1, 0))
    assert found[TOP1].value == pytest.approx(0.31)
    assert found[TOP1].standard_error == pytest.approx(0.01)
    assert found[MACS].value == 210.0
    assert found[MACS].standard_error == 0.0


def test_a_table_is_a_search_space_without_layer_graphs() -> None:
    table = make_table(options=["skip", "small", "large"], stage_sizes=[1, 2])
    assert [gene.group for gene in table.genes] == ["stage0", "stage1", "stage1"]
    assert table.size == 27
    assert table.missing_rows == 15
    architecture = table.parse([2, 1, 0])
    assert table.genotype_of(architecture) == (2, 1, 0)
    assert table.graph(architecture, Form.DEPLOYED) is None
    assert list(table.supernet_graphs()) == []
    with pytest.raises(InvalidGenotypeError, match="gene1"):
        table.canonical((0, 7, 0))
    with pytest.raises(InvalidArchitectureError, match="give a list of 3"):
        table.parse("scarlet-a")


def test_another_content_is_another_space() -> None:
    other = make_table(columns=[TableColumn(MACS, np.arange(12.0))])
    assert make_table().decode((0, 0, 0)).arch_id == make_table().decode((0, 0, 0)).arch_id
    assert make_table().decode((0, 0, 0)).arch_id != other.decode((0, 0, 0)).arch_id
    with pytest.raises(InvalidArchitectureError):
        make_table().genotype_of(other.decode((0, 0, 0)))


def test_a_genotype_without_a_row_is_refused_and_a_filter_keeps_a_search_among_the_rows() -> None:
    table = make_table(options=["skip", "small", "large"])
    with pytest.raises(InvalidArchitectureError, match="holds 12 of 27"):
        table.lookup((0, 2, 2))
    algorithm = create_algorithm(
        Nsga2Settings(population_size=4),
        SearchProblem(
            space=table,
            objectives=(Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE)),
            cheap_filter=lambda genotype: CheapCheck({}, {} if table.has_row(genotype) else {"table_row": 1.0}),
        ),
    )
    asked = []
    while batch := algorithm.ask(4):
        asked += batch
        algorithm.tell(
            [Observation(genotype=g, objectives={m: v.value for m, v in table.lookup(g).items()}) for g in batch]
        )
    assert sorted(asked) == sorted(table.rows)
    assert len(algorithm.front()) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"genotypes": GENOTYPES.astype(float)}, "integers"),
        ({"genotypes": GENOTYPES - 1}, "row 1: a choice index is negative"),
        (
            {"genotypes": np.concatenate([GENOTYPES[:-1], GENOTYPES[:1]])},
            r"row 12: genotype \[0, 0, 0\] is that of row 1 already",
        ),
        ({"columns": []}, "no metric column"),
        ({"columns": [TableColumn(MACS, np.arange(11.0))]}, "macs has shape"),
        (
            {"columns": [TableColumn(MACS, np.where(np.arange(12) == 4, np.nan, 1.0))]},
            "row 5: macs is not finite",
        ),
        ({"options": ["a", "b"]}, "names only 2 options"),
        ({"stage_sizes": [1, 1]}, "do not add up to 3 genes"),
    ],
)
def test_malformed_tables_are_refused_with_what_is_wrong(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSpaceError, match=message):
        make_table(**changes)


def test_reads_the_same_table_from_npz_and_csv(tmp_path: Path) -> None:
    macs = GENOTYPES @ np.asarray([100.0, 10.0, 1.0])
    np.savez(tmp_path / "toy.npz", genotypes=GENOTYPES, macs=macs)
    lines = ["gene0,gene1,gene2,macs", *(",".join(map(str, [*g, m])) for g, m in zip(GENOTYPES, macs, strict=True))]
    (tmp_path / "toy.csv").write_text("\n".join(lines))
    npz, csv = read_table(tmp_path / "toy.npz"), read_table(tmp_path / "toy.csv")
    assert npz.rows == csv.rows
    assert npz.lookup((2, 1, 1)) == csv.lookup((2, 1, 1))
    assert csv.parameters == {"sha256": hashlib.sha256((tmp_path / "toy.csv").read_bytes()).hexdigest()}
    assert csv.lookup((2, 1, 1))[MACS].value == 211.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene0,macs\n0,1\n1", r"row 2 \(line 3\): 1 cells"),
        ("gene0,macs\n0,1\n1,much", r"row 2 \(line 3\), column macs: 'much' is not a number"),
        ("gene0,speed\n0,1", "found gene0, speed"),
        ("gene0,macs", "at least one row"),
        ("gene0,macs\n0.5,1", "whole numbers"),
        ("gene0,macs\n0,nan", "row 1: macs is not finite"),
    ],
)
def test_malformed_csv_files_are_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InvalidSpaceError, match=message):
        read_table(tmp_path / "bad.csv")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpaceError, match="cannot be read"):
        read_table(tmp_path / "absent.csv")
    (tmp_path / "noise.npz").write_bytes(b"not a zip")
    with pytest.raises(InvalidSpaceError, match="cannot be read"):
        read_npz(tmp_path / "noise.npz")
    np.savez(tmp_path / "lacking.npz", macs=np.arange(3.0))
    with pytest.raises(InvalidSpaceError, match="lacks the array 'genotypes'"):
        read_npz(tmp_path / "lacking.npz")
    np.savez(tmp_path / "extra.npz", genotypes=GENOTYPES, speed=np.arange(12.0))
    with pytest.raises(InvalidSpaceError, match="unknown arrays speed"):
        read_npz(tmp_path / "extra.npz")
    with pytest.raises(InvalidSpaceError, match=r"suffix '\.txt'"):
        read_table(tmp_path / "table.txt")


@pytest.mark.data
def test_nas_bench_macro_is_read_as_any_table() -> None:
    path = Path(os.environ.get("HILNAS_DATA", "/none")) / "nasbench_macro_cifar10.npz"
    if not path.is_file():
        pytest.skip(f"{path} is missing: set HILNAS_DATA to a folder with the public data sets")
    table = nas_bench_macro(path)
    assert table.size == len(table.rows) == 6561
    assert table.missing_rows == 0
    found = table.lookup((0,) * 8)
    assert found[TOP1].value == pytest.approx((45.32 + 45.33 + 45.44) / 300, abs=1e-4)
    assert found[MACS].value == 7_713_280.0
    assert [gene.group for gene in table.genes].count("stage1") == 3
