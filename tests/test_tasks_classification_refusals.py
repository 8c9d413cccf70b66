"""What the task kind ``classification`` refuses, and in which words."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from labelled_data import npz, ramps, refusal, written

CONSTANT = "@timestamps false\n@classLabel true up down\n@data\n"


def test_hostile_npz_files_are_refused(tmp_path: Path) -> None:
    values, labels = ramps()
    holed = values.copy()
    holed[3, 4, 1] = np.nan
    cases: dict[str, dict[str, object]] = {
        "there is no array 'y', only X.": {"X": values},
        "there is no array 'X', only a, b.": {"a": values, "b": labels},
        "X is complex128": {"X": values * 1j, "y": labels},
        "of shape (60, 8, 2, 1)": {"X": values[..., None], "y": labels},
        "y is int64 of shape (59,)": {"X": values, "y": labels[1:]},
        "y is float64": {"X": values, "y": labels + 0.5},
        "lengths must hold whole numbers from 1 to 8": {
            "X": values,
            "y": labels,
            "lengths": np.full(60, 9),
        },
        "sequence 4, step 5, feature 2: nan is not a finite number": {"X": holed, "y": labels},
        "allow_pickle=False": {"X": np.array([{}, {}], dtype=object), "y": labels[:2]},
        "are of one class, '0'": {"X": values, "y": labels * 0},
        "there are no sequences": {"X": values[:0], "y": labels[:0]},
        "2 sequences of 2 classes are too few": {"X": values[:2], "y": labels[:2]},
        "is too large to compute with": {"X": values * 1e300, "y": labels},
    }
    for message, arrays in cases.items():
        assert message in refusal(npz(tmp_path, **arrays))


def test_files_that_are_no_npz_are_refused(tmp_path: Path) -> None:
    assert "not an .npz file" in refusal(written(tmp_path, "a.npz", "x,y\n1,2\n"))
    values, labels = ramps()
    whole = npz(tmp_path, X=values, y=labels).read_bytes()
    assert "cannot be read as .npz" in refusal(written(tmp_path, "b.npz", whole[:500]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("X.npy", b"not an array")
        archive.writestr("y.npy", b"not an array")
    assert "X is |S12 of shape (); it must hold real numbers" in refusal(
        written(tmp_path, "c.npz", buffer.getvalue())
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2,3:up\n", "line 1: expected a header line with @, got '1,2,3:up'"),
        ("@timestamps true\n@data\n", "line 1: sequences with time stamps are not supported"),
        ("@data\n1,2:up\n", "line 1: no @classLabel line before @data"),
        ("@classLabel false\n@data\n", "line 1: @classLabel is false"),
        ("@classLabel true a\n", "no line @data"),
        (CONSTANT, "there are no sequences"),
        (CONSTANT + "1,2,3:sideways\n", "line 4: label 'sideways' is not in @classLabel"),
        (CONSTANT + "1,2,?:up\n", "line 4, feature 1, step 3: '?' is not a finite number"),
        (CONSTANT + "1,2:3,NaN:up\n", "line 4, feature 2, step 2: 'NaN' is not a finite number"),
        (CONSTANT + "1,2:3:up\n", "line 4: features of one sequence differ in length: [1, 2]"),
        (CONSTANT + "1,2:up\n1,2:3,4:down\n", "line 5: 2 features, but the sequences before"),
        (CONSTANT + "up\n", "line 4: no ':' between values and label"),
        (CONSTANT + "1,2:up\n" * 9, "all sequences are of one class, 'up'"),
    ],
)
def test_hostile_ts_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    assert message in refusal(written(tmp_path, "data.ts", content))


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a,b,c\n1,2,x\n1,oops,y\n", {}, "row 2, column 'b': 'oops' is not a number"),
        ("a,b,c\n1,2,x\n1,NaN,y\n", {}, "row 2, column 'b': nan is not a finite number"),
        ("a,b,c\n1,2,x\n1,2,\n", {}, "row 2, column 'c' is empty"),
        ("a,b,c\n1,2,x\n,2,y\n", {}, "row 2, column 'a' is empty, but later cells are not"),
        ("a,b,c\n1,2,x\n,,y\n", {}, "row 2 has 0 values"),
        ("a,b,c\n1,2,x\n1,,y\n", {"features": 2}, "row 2 has 1 values, not a positive multiple"),
        ("a,b,c\n1,2,x\n", {"features": 3}, "cannot be cut into steps of 3 features"),
        ("a,b,c\n1,2,x\n", {"label": "d"}, "there is no column 'd'. Known: a, b, c."),
        ("a,b,c\n1,2,x\n1,2\n", {}, "cannot be read as a table"),
        ("a,a,c\n1,2,x\n", {}, "two columns are called 'a'"),
        ("a,b,c\n", {}, "the table has no rows"),
        ("\n\n", {}, "the table is empty"),
        ("1,2,3\n4,5,6\n", {}, "the first line holds numbers, not names (1, 2, 3, …)"),
        ("a;b;c\n1;2;x\n", {}, "Is the delimiter right?"),
        ("a,b,c\n1,2,x\n", {"delimiter": ", "}, "delimiter must be a single character"),
        (b"a,b\n\xff,2\n", {}, "byte 0xff at position 4 (line 2) is not UTF-8"),
        (b"\x00\x01\x02", {}, "zero byte at position 0"),
        ("", {}, "the file is empty"),
    ],
)
def test_hostile_csv_files_are_refused(
    tmp_path: Path, content: str | bytes, options: dict[str, object], message: str
) -> None:
    assert message in refusal(written(tmp_path, "data.csv", content), **options)


def test_a_file_of_unknown_format_is_refused(tmp_path: Path) -> None:
    assert "the suffix '.pkl' tells no known format. Known: .npz, .ts" in refusal(
        written(tmp_path, "data.pkl.gz", "x")
    )
    assert "cannot be read as a table" in refusal(written(tmp_path, "a.parquet", "a,b\n1,2\n"))


def test_a_test_file_must_fit_the_training_file(tmp_path: Path) -> None:
    values, labels = ramps()
    train = npz(tmp_path, X=values, y=labels)
    wide = npz(tmp_path, "wide.npz", X=values[:, :, :1], y=labels)
    assert "1 features, but" in refusal(train, test_data=str(wide))
    other = npz(tmp_path, "other.npz", X=values, y=labels + 1)
    assert "sequence 2 has the label '2', which the training data lacks" in refusal(
        train, test_data=str(other)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0}, "option features must be at least 1, not 0"),
        ({"standardise": "yes"}, "option standardise must be true or false, not 'yes'"),
        ({"test": "x"}, "has no option 'test'. Did you mean 'test_data'?"),
        ({"header": 1}, "option header must be true or false, not 1"),
    ],
)
def test_a_wrong_option_is_refused(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    assert message in refusal(tmp_path / "unread.csv", **options)
