"""The sizes of pages, as read from their headers, against what pyarrow wrote."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hostile import MiB, bounded
from tests.parquet_bytes import page, parquet, varint
from tests.tiny import ROOT
from workers.parquet_pages import NotParquet, Sizes, sizes_of


def written(packed: str, version: str, rows: int = 20_000) -> bytes:
    buffer = io.BytesIO()
    columns = {
        "number": np.random.default_rng(1).random(rows),
        "text": [f"text {k % 50}" for k in range(rows)],
        "list": [[1.0, 2.0]] * rows,
        "record": [{"a": k % 3 == 0} for k in range(rows)],
        "nothing": pa.nulls(rows),
    }
    table = pa.table(columns)
    options = {"compression": packed, "data_page_version": version, "row_group_size": 7_000}
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("packed", ["none", "snappy", "gzip", "zstd", "brotli"])
def test_the_pages_of_a_file_have_the_sizes_that_its_footer_sums_up(
    packed: str, version: str
) -> None:
    content = written(packed, version)
    metadata = pq.read_metadata(pa.BufferReader(content))
    columns = [
        metadata.row_group(group).column(number)
        for group in range(metadata.num_row_groups)
        for number in range(metadata.num_columns)
    ]
    assert sizes_of(content).rows == 20_000
    footer = sum(column.total_uncompressed_size for column in columns)  # page headers too
    assert 0.99 * footer < sizes_of(content).unpacked <= footer
    # Dictionaries of 50 texts, and of two numbers, in each of three row groups.
    number, *others = sizes_of(content).values
    assert 20_000 <= number <= 40_000
    assert others == [20_000 + 3 * 50, 40_000 + 3 * 2, 20_000, 20_000]


def test_segments_of_every_format_are_walked() -> None:
    files = list((ROOT / "tests" / "formats").rglob("*.parquet"))
    assert len(files) > 10
    assert all(0 < sizes_of(path.read_bytes()).unpacked < 100_000 for path in files)


def test_sizes_and_values_are_those_of_the_pages_and_of_whoever_says_more() -> None:
    content = parquet(page(7, 50) + page(8, 60), rows=99)
    assert sizes_of(content) == Sizes(99, 110, (15,))


def test_columns_that_share_their_pages_are_refused() -> None:
    content = parquet(page(0) * 10_000, columns=400)
    with pytest.raises(NotParquet, match="its columns together are larger than the file"):
        sizes_of(content)


def test_a_size_counts_only_if_it_has_the_type_that_pyarrow_reads() -> None:
    another = b"\x06\x04\0"  # field 2 again, as a number of 64 bits: 0
    assert sizes_of(parquet(page(1, 50, between=another))).unpacked == 50


@pytest.mark.parametrize(
    "field",
    [
        b"\x05" + varint(2 * (2**16 + 2)) + b"\0",  # its number in 16 bits is 2
        b"\x05\x04" + varint(2**33),  # in 32 bits it is 0
    ],
)
def test_a_number_that_another_reader_would_cut_is_refused(field: bytes) -> None:
    with pytest.raises(NotParquet, match="a page is damaged: a "):
        sizes_of(parquet(page(1, 50, between=field)))


def test_of_a_footer_nothing_is_built_that_nobody_asks_for() -> None:
    items = 900_000
    content = parquet(page(1), more=b"\x19\xfc" + varint(items) + b"\0" * items)
    with bounded(10 * MiB):
        assert sizes_of(content).rows == 1
    content = parquet(page(1), more=b"\x19\xfc" + varint(2**20) + b"\0" * 2**20)
    with pytest.raises(NotParquet, match="a list is too long"):
        sizes_of(content)


@pytest.mark.parametrize("writer", [b"parquet-mr version 1.2.8", b"parquet-mr version 1.10.1"])
def test_files_whose_columns_are_longer_than_they_say_are_refused(writer: bytes) -> None:
    content = parquet(page(1), more=b"\x28" + varint(len(writer)) + writer)
    if writer.endswith(b"10.1"):
        assert sizes_of(content).rows == 1
    else:
        with pytest.raises(NotParquet, match="of a writer too old"):
            sizes_of(content)


def test_what_no_page_header_can_be_is_refused(tmp_path: Path) -> None:
    content = written("none", "1.0", rows=100)
    for size in (0, 3, 11, len(content) - 1):
        with pytest.raises(NotParquet):
            sizes_of(content[:size])
    rng = np.random.default_rng(2)
    for _ in range(3_000):
        changed = bytearray(content)
        for at in rng.integers(len(content) - 1_500, len(content), 3):
            changed[at] = rng.integers(256)
        try:
            assert sizes_of(bytes(changed)).unpacked >= 0
        except NotParquet as error:
            assert str(error)
