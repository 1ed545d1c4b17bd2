"""Names, descriptions and values of the shipped data sets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import refglmm.datasets.catalogue as catalogue
from refglmm.datasets import describe, load, names
from refglmm.errors import DataError

FOLDER = Path(catalogue.__file__).parent


def test_names_are_sorted_and_a_new_list_each_time():
    first = names()
    assert first == sorted(first, key=str.lower)
    first.clear()
    assert "cbpp" in names()


@pytest.mark.parametrize("name", names())
def test_each_file_is_the_one_described(name):
    entry = describe(name)
    assert hashlib.md5((FOLDER / entry.file).read_bytes()).hexdigest() == entry.md5
    frame = load(name)
    assert len(frame) == entry.rows
    assert list(frame.columns) == [c["name"] for c in entry.columns]
    assert not frame.isna().any().any()  # none of the shipped data sets has holes


@pytest.mark.parametrize("name", names())
def test_each_column_has_the_type_described(name):
    frame = load(name)
    for column in describe(name).columns:
        dtype = frame[column["name"]].dtype
        if column["type"] in ("factor", "ordered"):
            assert isinstance(dtype, pd.CategoricalDtype)
            assert dtype.ordered == (column["type"] == "ordered")
        elif column["type"] == "integer" or column.get("whole"):
            assert dtype == np.int64
        else:
            assert dtype == np.float64


def test_no_file_lies_beside_the_catalogue_without_an_entry():
    files = {f.name for f in FOLDER.iterdir() if ".csv" in f.name}
    assert files == {describe(name).file for name in names()}


def test_each_data_set_stands_in_the_printed_table_with_source_and_licence():
    table = (FOLDER / "DATASETS.md").read_text(encoding="utf-8").replace("\\|", "|")
    for name in names():
        entry = describe(name)
        row = next(line for line in table.splitlines() if line.startswith(f"| [{name}]("))
        for text in (entry.citation, entry.source, entry.licence):
            assert text in row


def test_cbpp_is_r_s_cbpp():
    # str(lme4::cbpp): 56 obs., herd 15 levels, period 4 levels; 99 cases among 842 animals
    cbpp = load("cbpp")
    assert cbpp.shape == (56, 4)
    assert list(cbpp["herd"].cat.categories) == [str(i) for i in range(1, 16)]
    assert list(cbpp["period"].cat.categories) == ["1", "2", "3", "4"]
    assert (cbpp["incidence"].sum(), cbpp["size"].sum()) == (99, 842)
    assert cbpp.iloc[0].tolist() == ["1", 2, 14, "1"]


def test_level_order_by_rule_is_numerical_not_alphabetical():
    district = load("Contraception")["district"]
    assert list(district.cat.categories[:11]) == [*map(str, range(1, 12))]
    assert "54" not in district.cat.categories  # the survey has no district 54
    assert len(district.cat.categories) == 60


def test_unused_levels_are_kept_as_in_r():
    # lme4's respiratory test data: 112 levels, 111 patients
    idctr = load("respiratory_lme4")["idctr"]
    assert len(idctr.cat.categories) == 112
    assert idctr.nunique() == 111


def test_ordered_factors_are_ordered():
    assert load("VerbAgg")["resp"].cat.ordered
    assert list(load("VerbAgg")["resp"].cat.categories) == ["no", "perhaps", "yes"]
    assert not load("VerbAgg")["r2"].cat.ordered


def test_insteval_comes_out_of_its_gzip():
    frame = load("InstEval")
    assert frame.shape == (73421, 7)
    assert (frame["s"].nunique(), frame["d"].nunique()) == (2972, 1128)  # help page of lme4's InstEval


def test_each_call_gives_a_fresh_frame():
    first = load("sleepstudy")
    first.loc[0, "Reaction"] = np.nan
    first["new"] = 1
    again = load("sleepstudy")
    assert list(again.columns) == ["Reaction", "Days", "Subject"]
    assert again.loc[0, "Reaction"] == 249.56  # first row of lme4::sleepstudy


def test_an_unknown_name_names_its_neighbours():
    with pytest.raises(DataError, match="no data set 'cbp'; did you mean 'cbpp'") as caught:
        load("cbp")
    assert caught.value.facts["near"][0] == "cbpp"
    with pytest.raises(DataError, match="did you mean 'Contraception'"):
        describe("contraception")


def test_a_hopeless_name_points_to_the_list():
    with pytest.raises(DataError, match=r"names\(\) lists them all"):
        load("zzzzzz")


def test_a_description_prints_source_licence_and_levels():
    text = str(describe("cbpp"))
    assert text.startswith("cbpp: 56 rows, 4 columns")
    assert "factor with 15 levels: 1, 2, 3, 4, 5, 6, ..." in text
    assert "Lesnoff" in text
    assert "lme4" in text
    assert "GPL" in text
    assert "levels the distinct values in numerical order" in str(describe("Contraception"))
