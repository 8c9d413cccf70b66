"""The sizes of pages, as read from their headers, against what pyarrow wrote."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tiny import ROOT
from workers.parquet_pages import NotParquet, sizes_of


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


def test_segments_of_every_format_are_walked() -> None:
    files = list((ROOT / "tests" / "formats").rglob("*.parquet"))
    assert len(files) > 10
    assert all(0 < sizes_of(path.read_bytes()).unpacked < 100_000 for path in files)


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
