"""The lease of a run in a bucket: one manager at a time, whatever becomes of the others."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from bucket_server import BUCKET, Store, running_store

from evo_nas.record import lease, run_path
from evo_nas.record.bucket import RemotePath
from evo_nas.record.durable import RunLocked
from evo_nas.record.lease import Lease, acquire


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with running_store() as store:
        yield store


@pytest.fixture
def root(server: Store, monkeypatch: pytest.MonkeyPatch) -> RemotePath:
    """A run, and seconds as short as the store's clock allows: it counts whole ones."""
    server.used_by(monkeypatch)
    for name, seconds in {"STALE": 4.0, "TRUSTED": 1.5, "RENEWED": 0.5, "LOOK": 0.1}.items():
        monkeypatch.setattr(lease, name, seconds)
    path = run_path(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    assert isinstance(path, RemotePath)
    return path


def claims(root: RemotePath) -> list[str]:
    return [path.name for path in (root / lease.FOLDER).iterdir()]


def dies(held: Lease) -> None:
    """What a killed manager leaves: its claim, and nobody who renews it."""
    held._end.set()
    held._thread.join()


def test_a_second_manager_is_refused_and_told_who_has_the_run(root: RemotePath) -> None:
    held = acquire(root)
    try:
        with pytest.raises(RunLocked, match=r"is in use by process \d+ on .*Stop that process"):
            acquire(root)
        held.confirm()
    finally:
        held.release()


def test_a_run_that_was_let_go_is_free_at_once(root: RemotePath) -> None:
    acquire(root).release()
    assert claims(root) == []
    begun = time.monotonic()
    acquire(root).release()
    assert time.monotonic() - begun < 2


@pytest.mark.slow
def test_a_lease_is_renewed_for_as_long_as_its_holder_lives(root: RemotePath) -> None:
    held = acquire(root)
    try:
        time.sleep(lease.STALE + 2)
        with pytest.raises(RunLocked, match="is in use by"):
            acquire(root)
        held.confirm()
    finally:
        held.release()


def test_the_run_of_a_manager_that_is_no_more_is_taken_over_after_a_while(
    root: RemotePath, capsys: pytest.CaptureFixture[str]
) -> None:
    dies(acquire(root))
    begun = time.monotonic()
    acquire(root).release()
    assert lease.STALE - 2 < time.monotonic() - begun < lease.STALE + 3
    assert "was held by process" in capsys.readouterr().err
    assert claims(root) == []


def test_who_was_taken_over_writes_nothing_more(root: RemotePath) -> None:
    paused = acquire(root)
    dies(paused)
    other = acquire(root)
    try:
        with pytest.raises(RunLocked, match="was taken over by another manager"):
            paused.confirm()
        with pytest.raises(RunLocked, match="was taken over by another manager"):
            paused.confirm()
        other.confirm()
    finally:
        other.release()


@pytest.mark.slow
def test_a_bucket_that_was_away_for_long_costs_nothing_if_nobody_came(
    server: Store, root: RemotePath
) -> None:
    held = acquire(root)
    try:
        server.breaks("down")
        time.sleep(lease.TRUSTED + 1)
        with pytest.raises(OSError, match="NETWORK_CONNECTION|curlCode"):
            held.confirm()
        server.breaks("none")
        held.confirm()
    finally:
        held.release()


@pytest.mark.slow
def test_a_claim_of_a_manager_that_only_waited_holds_nothing(root: RemotePath) -> None:
    waiting = Lease(root)
    waiting._put(holds=False)
    time.sleep(lease.STALE + 2)
    acquire(root).release()
    assert claims(root) == []


@pytest.mark.slow
def test_of_many_that_come_at_once_at_most_one_has_the_run(root: RemotePath) -> None:
    inside, most, got, refused = [], [], [], []
    gate = threading.Barrier(4)

    def come() -> None:
        gate.wait()
        try:
            held = acquire(root)
        except RunLocked as error:
            refused.append(str(error))
            return
        inside.append(held)
        most.append(len(inside))
        time.sleep(0.5)
        held.confirm()
        inside.remove(held)
        held.release()
        got.append(held)

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most, default=0) == 1
    assert got
    assert len(got) + len(refused) == 4
    assert claims(root) == []


@pytest.mark.slow
def test_a_claim_that_nobody_can_read_counts_as_held_until_it_is_stale(
    server: Store, root: RemotePath
) -> None:
    server.put(f"{root.key}/{lease.FOLDER}/other.json", b"{")
    begun = time.monotonic()
    acquire(root).release()
    assert time.monotonic() - begun > lease.STALE - 2


def test_a_claim_says_who_made_it(server: Store, root: RemotePath) -> None:
    held = acquire(root)
    try:
        (name,) = claims(root)
        said = json.loads(server.content(f"{root.key}/{lease.FOLDER}/{name}"))
        assert said["holds"] is True
        assert said["holder"].startswith("process ")
    finally:
        held.release()
