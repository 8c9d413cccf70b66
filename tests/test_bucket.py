"""Objects as files of a run: one put each, sizes looked up, faults of the way borne or told."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket_server import BUCKET, Store, running_store

from evo_nas.errors import RecordError
from evo_nas.record import bucket, run_path
from evo_nas.record.bucket import RemotePath
from evo_nas.record.storage import contents, move_durably, write_durably


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with running_store() as store:
        yield store


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(bucket, "FIRST_PAUSE", 0.02)
    return server.used_by(monkeypatch)


@pytest.fixture
def folder(store: Store) -> RemotePath:
    return remote(f"s3://{BUCKET}/{uuid.uuid4().hex}")


def remote(uri: str) -> RemotePath:
    path = run_path(uri)
    assert isinstance(path, RemotePath)
    return path


def test_an_object_is_written_by_one_put_and_read_back(store: Store, folder: RemotePath) -> None:
    path = folder / "segments" / "00000000.parquet"
    write_durably(path, b"content")
    assert path.read_bytes() == b"content"
    assert store.puts == {path.key: 1}
    assert (path.exists(), path.is_file(), path.is_dir()) == (True, True, False)
    assert (folder.exists(), folder.is_file(), folder.is_dir()) == (True, False, True)


def test_names_are_those_of_a_path(folder: RemotePath) -> None:
    path = folder / "segments" / "00000000.parquet"
    local = Path("/runs/first/segments/00000000.parquet")
    assert (path.name, path.stem, path.parent.name) == (local.name, local.stem, local.parent.name)
    assert path.with_name("b").parent == path.parent
    assert str(path) == f"{folder}/segments/00000000.parquet"


def test_a_folder_lists_what_lies_right_below_it(folder: RemotePath) -> None:
    for name in ("a.json", "b.json", "c.txt"):
        (folder / name).put(name.encode())
    (folder / "below" / "d.json").put(b"d")
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "b.json", "below", "c.txt"]
    assert sorted(path.name for path in folder.glob("*.json")) == ["a.json", "b.json"]
    assert list((folder / "nothing").iterdir()) == []


def test_no_object_is_written_twice(store: Store, folder: RemotePath) -> None:
    path = folder / "run.json"
    write_durably(path, b"first")
    with pytest.raises(FileExistsError, match="exists already and is never written again"):
        write_durably(path, b"second")
    assert path.read_bytes() == b"first"


def test_a_put_whose_answer_was_lost_counts(store: Store, folder: RemotePath) -> None:
    path = folder / "run.json"
    store.put(path.key, b"content")  # it had arrived
    write_durably(path, b"content")
    assert store.puts == {}


def test_many_objects_come_in_order(folder: RemotePath) -> None:
    paths = [folder / f"{number}" for number in range(40)]
    for path in paths:
        path.put(path.name.encode())
    assert [content.decode() for content in contents(paths)] == [path.name for path in paths]
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        list(contents([*paths, folder / "missing"]))


def test_a_file_is_moved_aside_whole(folder: RemotePath) -> None:
    (folder / "torn").put(b"half")
    move_durably(folder / "torn", "torn.torn")
    assert [path.name for path in folder.iterdir()] == ["torn.torn"]
    assert (folder / "torn.torn").read_bytes() == b"half"


def test_removing_what_is_gone_is_fine(folder: RemotePath) -> None:
    (folder / "a").put(b"")
    (folder / "a").remove()
    (folder / "a").remove()
    assert not (folder / "a").exists()


@pytest.mark.parametrize("fault", ["down", "unavailable", "half"])
def test_a_fault_that_passes_costs_time_alone_and_is_told_once(
    store: Store, folder: RemotePath, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    path = folder / "segment"
    store.breaks(fault, requests=2)  # type: ignore[arg-type]
    write_durably(path, b"content" * 100)
    assert store.content(path.key) == b"content" * 100
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert "trying again for" in line


def test_half_an_object_is_noticed_and_put_again(
    store: Store, folder: RemotePath, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "segment"
    store.breaks("half", requests=1)
    write_durably(path, b"content" * 100)
    assert "700 bytes were written and 350 are there" in capsys.readouterr().err
    assert store.puts == {path.key: 2}
    assert store.content(path.key) == b"content" * 100


@pytest.mark.slow
def test_a_slow_way_is_only_slow(store: Store, folder: RemotePath) -> None:
    store.breaks("slow")
    write_durably(folder / "segment", b"content")
    assert (folder / "segment").read_bytes() == b"content"


def test_a_way_that_stays_broken_is_told_with_what_to_look_at(
    store: Store, folder: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "PATIENCE", 0.3)
    monkeypatch.setattr(bucket, "READ_PATIENCE", 0.3)
    store.breaks("down")
    with pytest.raises(
        OSError, match=r"s3://runs/.*/segment: .* It was tried for 0 seconds"
    ) as one:
        write_durably(folder / "segment", b"content")
    assert "Check the bucket, the network and the AWS credentials" in str(one.value)
    with pytest.raises(OSError, match="It was tried for 0 seconds"):
        (folder / "segment").read_bytes()


def test_a_refusal_is_told_at_once(store: Store, folder: RemotePath) -> None:
    store.breaks("forbidden")
    with pytest.raises(OSError, match=r"(?s)/segment: .*(403|ACCESS_DENIED).*Check the bucket"):
        write_durably(folder / "segment", b"content")
    with pytest.raises(OSError, match="(403|ACCESS_DENIED)"):
        (folder / "segment").exists()


def test_a_bucket_that_is_not_there_is_told_at_once(store: Store) -> None:
    with pytest.raises(OSError, match=r"s3://nobody/runs/first: .*Check the bucket"):
        write_durably(remote("s3://nobody/runs/first"), b"content")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://runs", "s3://BUCKET/runs/first"),
        ("s3:///first", "s3://BUCKET/runs/first"),
        ("s3://runs/../other", "no place for a run"),
        ("s3://runs/a//b", "no place for a run"),
        ("s3://key:secret@runs/a", "come from the environment"),
        ("s3://runs/a?endpoint_override=x", "come from the environment"),
        ("hdfs://host/runs", "runs cannot lie in hdfs://. Known are file://, s3://, gs://"),
        ("file://host/runs", "give the whole path: file:///"),
    ],
)
def test_other_places_are_refused_with_what_would_do(place: str, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        run_path(place)
    assert message in str(caught.value)


def test_a_file_uri_is_a_path() -> None:
    assert run_path("file:///tmp/my%20runs/first") == Path("/tmp/my runs/first")
