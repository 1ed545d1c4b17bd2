"""CSV text to typed columns."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from refglmm.datasets.reading import read_csv
from refglmm.errors import DataError

COLUMNS = (
    {"name": "g", "type": "factor", "levels_rule": "the distinct values in numerical order"},
    {"name": "size", "type": "ordered", "levels": ["small", "big", "huge"]},
    {"name": "count", "type": "numeric", "whole": True},
    {"name": "x", "type": "numeric"},
    {"name": "label", "type": "string"},
)


def write(tmp_path, text, name="d.csv"):
    path = tmp_path / name
    opener = gzip.open if name.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz"])
def test_every_type(tmp_path, name):
    text = 'g,size,count,x,label\n10,big,3,0.1,"a,b"\n9,small,4,2,NA\n'
    frame = read_csv(write(tmp_path, text, name), COLUMNS)
    assert list(frame["g"].cat.categories) == ["9", "10"]
    assert not frame["g"].cat.ordered
    assert frame["size"].cat.codes.tolist() == [1, 0]
    assert frame["size"].cat.ordered
    assert list(frame["size"].cat.categories) == ["small", "big", "huge"]
    assert frame["count"].dtype == np.int64
    assert frame["x"].dtype == np.float64
    assert frame["label"].tolist() == ["a,b", "NA"]  # text, not a missing value


def test_numbers_read_back_to_the_last_bit(tmp_path):
    # values on which quick parsers are off by one unit in the last place
    values = [5e-324, 0.1 + 0.2, 1.7976931348623157e308, -59.2406947890819, 2.2250738585072014e-308]
    text = "x\n" + "\n".join(map(repr, values)) + "\n"
    assert read_csv(write(tmp_path, text), COLUMNS[3:4])["x"].tolist() == values


def test_an_empty_field_is_missing(tmp_path):
    frame = read_csv(write(tmp_path, "g,size,count,x,label\n1,,,,\n2,big,5,1.5,z\n"), COLUMNS)
    assert frame.isna().iloc[0].tolist() == [False, True, True, True, True]
    assert frame["count"].tolist()[1] == 5.0


def test_a_value_that_is_no_level_is_named(tmp_path):
    path = write(tmp_path, "size\nsmall\ntiny\n")
    with pytest.raises(DataError, match=r"d\.csv, column 'size': 'tiny' is not among the levels") as caught:
        read_csv(path, COLUMNS[1:2])
    assert caught.value.facts == {"column": "size", "values": ["tiny"]}


def test_a_header_that_disagrees_with_the_description_is_an_error(tmp_path):
    path = write(tmp_path, "x,y\n1,2\n")
    with pytest.raises(DataError, match="its description says") as caught:
        read_csv(path, COLUMNS[3:4])
    assert caught.value.facts["found"] == ["x", "y"]
