"""Tables of people brought into the form that a server reads: other column names, choices counted from 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilnas.cli.local.tables import table_content
from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.spaces.tables.document import parse_table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("id,op_a,op_b,acc,macs\na,1,2,0.5,100\nb,2,1,0.6,200\n\n", encoding="utf-8")
    return path


NAMES = ("id=", "op_a=gene1", "op_b=gene2", "acc=top1")


def test_columns_are_renamed_and_left_out(file: Path) -> None:
    table = parse_table(table_content(file, NAMES), "mine")
    assert table.rows == ((1, 2), (2, 1))
    assert table.metrics == (TOP1, MACS)
    assert table.lookup((2, 1))[TOP1].value == 0.6
    assert table.lacks_choice_0, "which is hinted at"


def test_choices_counted_from_1_are_counted_from_0(file: Path) -> None:
    table = parse_table(table_content(file, NAMES, genes_from=1), "mine")
    assert table.rows == ((0, 1), (1, 0))
    assert table.missing_rows == 2
    assert table.lookup((1, 0))[MACS].value == 200
    assert not table.lacks_choice_0


def test_a_choice_below_the_first_is_named_with_its_row(file: Path) -> None:
    file.write_text("gene1,macs\n1,5\n0,6\n", encoding="utf-8")
    with pytest.raises(InvalidSpaceError, match=r"row 2: genotype \[0\] has a choice below 1"):
        table_content(file, genes_from=1)


def test_a_column_that_is_not_there_is_named_with_those_that_are(file: Path) -> None:
    with pytest.raises(InvalidSpaceError, match="has no column 'accuracy': its columns are id, op_a, op_b, acc, macs"):
        table_content(file, ["accuracy=top1"])
    with pytest.raises(InvalidSpaceError, match=r"has no column 'top1' \(turned round\? --column acc=top1\)"):
        table_content(file, ["top1=acc"])
