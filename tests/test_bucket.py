"""Objects as files of a run: one put each, sizes looked up, faults of the way borne or told."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bucket_server import BUCKET, Store, running_store

from evo_nas.errors import RecordError
from evo_nas.record import bucket, run_path
from evo_nas.record.bucket import RemotePath
from evo_nas.record.durable import RunLocked
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


def test_what_lies_right_below_a_bucket_has_names_too(store: Store) -> None:
    path = remote(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    other = path.with_name(f"{path.name}-other")
    other.put(b"content")
    assert store.content(other.key) == b"content"
    assert other in list(path.parent.iterdir())


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
    store.breaks("unanswered", requests=1)
    write_durably(path, b"content")
    assert store.puts == {path.key: 1}
    assert store.content(path.key) == b"content"


def test_what_has_to_be_held_is_asked_for_before_anything_is_changed_or_refused(
    folder: RemotePath,
) -> None:
    def lost() -> None:
        raise RunLocked("taken over")

    path = folder / "segment"
    path.put(b"the other's")
    for change in (
        lambda: path.put(b"mine", lost),
        lambda: path.replace(b"mine", before=lost),
        lambda: path.remove(before=lost),
    ):
        with pytest.raises(RunLocked, match="taken over"):
            change()
    assert path.read_bytes() == b"the other's"


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
    monkeypatch.setattr(bucket, "PATIENCE", 0.6)
    path = replace(folder, patience=0.1) / "segment"
    store.breaks("down")
    for place, seconds in ((path, "0.1"), (path.patient(), "0.6")):
        with pytest.raises(
            OSError, match=rf"s3://runs/.*/segment: .* It was tried for {seconds} seconds"
        ) as one:
            write_durably(place, b"content")
        assert "Check the bucket, the network and the AWS credentials" in str(one.value)
        with pytest.raises(OSError, match=f"It was tried for {seconds} seconds"):
            place.read_bytes()


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
        ("file:///tmp/a%00b", "no file has a zero byte (%00) in its name"),
        ("s3://[abc/x", "s3://[abc/x is no place for a run: Invalid IPv6 URL. Give a scheme"),
        ("s3://my bucket/x", "s3://my bucket/x is no place for a run. Give a bucket"),
        ("s3://ru\u2100ns/x", "is no place for a run: netloc 'ru\u2100ns' contains invalid"),
        ("s3://runs/\udcff", "is no place for a run: it holds what cannot be printed"),
        ("s3://runs/a\tb", "is no place for a run: it holds what cannot be printed"),
        ("s3://runs/a\nb", "is no place for a run: it holds what cannot be printed"),
    ],
)
def test_other_places_are_refused_with_what_would_do(place: str, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        run_path(place)
    assert message in str(caught.value)


def test_a_file_uri_is_a_path() -> None:
    assert run_path("file:///tmp/my%20runs/first") == Path("/tmp/my runs/first")
    assert run_path("file:///tmp/%C3%A4") == run_path("file:///tmp/\u00e4") == Path("/tmp/\u00e4")
    assert bytes(run_path("file:///tmp/%ff")) == b"/tmp/\xff"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "server", ["127.0.0.1:9", "localhost", "localhost:9", "http://127.0.0.1:9/s3", "http://[a"]
)
@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("AWS_ENDPOINT_URL", "s3://runs/first"),
        ("AWS_ENDPOINT_URL_S3", "s3://runs/first"),
        ("STORAGE_EMULATOR_HOST", "gs://runs/first"),
    ],
)
def test_a_server_that_is_none_is_refused_naming_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, place: str, server: str
) -> None:
    monkeypatch.setenv(variable, server)
    with pytest.raises(RecordError) as caught:
        run_path(place)
    assert f"{variable}={server} is no address of a server. Give its scheme" in str(caught.value)


def test_a_server_may_end_with_a_slash(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.environment["AWS_ENDPOINT_URL"] + "/")
    assert not remote(f"s3://{BUCKET}/nothing").exists()
