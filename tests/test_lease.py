"""The lease of a run in a bucket: one manager at a time, whatever becomes of the others."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby, product

import pytest
from bucket_server import BUCKET, running_store
from pretended_store import Request, World

from evo_nas.record import lease, run_path
from evo_nas.record.bucket import RemotePath
from evo_nas.record.durable import RunLocked
from evo_nas.record.lease import Lease, acquire, stale_seconds

AWAY = OSError("AWS Error SLOW_DOWN: Please reduce your request rate.")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(lease, "random", random.Random(1))
    return World().used_by(monkeypatch)


@pytest.fixture
def root(world: World) -> RemotePath:
    return world.path()


def claims(root: RemotePath) -> list[str]:
    return [path.name for path in (root / lease.FOLDER).iterdir()]


def put_claim(world: World, name: str, holds: bool = True, age: float = 0.0) -> None:
    """What a killed manager leaves: a claim, and nobody who renews it."""
    said = {"holder": f"process 7 on {name}", "holds": holds, "number": 3}
    world.objects[f"runs/first/lease/{name}.json"] = (world.now - age, json.dumps(said).encode())


def manage(world: World, root: RemotePath, name: str, log: list[str], renewals: int) -> None:
    """A manager: it renews as its thread would, and notes in the log when it could write."""
    try:
        held = acquire(root)
    except (RunLocked, OSError):
        return
    for _ in range(renewals):
        world.sleep(lease.RENEWED)
        with suppress(OSError, RunLocked):  # told by the next line
            held._renew()
        try:
            held.confirm()
        except OSError:
            continue
        except RunLocked:
            break
        log.append(name)
    held.release()


def suspend(
    world: World, process: str, number: int, answered: bool, seconds: float
) -> Callable[[Request], None]:
    """Suspends a process before one of its requests is sent, or when it is answered."""

    def at(request: Request) -> None:
        if (request.process, request.number, request.answered) == (process, number, answered):
            world.sleep(seconds)

    return at


def refuse(what: str) -> Callable[[Request], None]:
    """Refuses all requests that do this."""

    def at(request: Request) -> None:
        if request.what == what:
            raise AWAY

    return at


def test_a_second_manager_is_refused_and_told_who_has_the_run(
    world: World, root: RemotePath
) -> None:
    log: list[str] = []
    world.begin("first", 0, manage, world, root, "first", log, 4)

    def second() -> None:
        with pytest.raises(RunLocked, match=r"is in use by process \d+ on .*Stop that process"):
            acquire(root)

    world.begin("second", 3, second)
    world.run()
    assert log == ["first"] * 4
    assert claims(root) == []


def test_a_run_that_was_let_go_is_free_at_once(
    world: World, root: RemotePath, capsys: pytest.CaptureFixture[str]
) -> None:
    acquire(root).release()
    assert claims(root) == []
    begun = world.now
    acquire(root).release()
    assert world.now - begun < 1
    assert capsys.readouterr().err == ""


def test_the_run_of_a_manager_that_is_no_more_is_taken_over_after_a_while(
    world: World, root: RemotePath, capsys: pytest.CaptureFixture[str]
) -> None:
    put_claim(world, "gone")
    begun = world.now
    acquire(root).release()
    assert 59 < world.now - begun < 64
    assert "was held by process 7 on gone; waiting up to 60 seconds" in capsys.readouterr().err
    assert claims(root) == []


def test_in_googles_store_whose_requests_last_longer_that_takes_three_minutes(
    world: World,
) -> None:
    root = world.path("gs")
    put_claim(world, "gone")
    begun = world.now
    acquire(root).release()
    assert 165 < world.now - begun < 180


def test_a_request_under_way_ends_before_anyone_takes_over(world: World) -> None:
    for scheme in ("s3", "gs"):
        store = world.path(scheme).bucket
        assert lease.TRUSTED + store.longest < stale_seconds(store) - 1


def test_who_was_taken_over_writes_nothing_more(world: World, root: RemotePath) -> None:
    paused = acquire(root)
    world.sleep(61)
    other = acquire(root)
    for _ in range(2):
        with pytest.raises(RunLocked, match="taken over by another manager: for more than 60"):
            paused.confirm()
    other.confirm()
    paused.release()
    other.confirm()


@pytest.mark.parametrize("seconds", [70.0, 150.0])
@pytest.mark.parametrize("second", [20.0, 40.0])
def test_whoever_is_suspended_wherever_no_two_have_a_run(
    monkeypatch: pytest.MonkeyPatch, seconds: float, second: float
) -> None:
    """Suspended before each request and after it, while it waits and while it holds the run."""
    taken_over = 0
    for number, answered in product(range(1, 40), (False, True)):
        world = World().used_by(monkeypatch)
        monkeypatch.setattr(lease, "random", random.Random(number))
        put_claim(world, "gone", age=57)
        log: list[str] = []
        world.on_request = suspend(world, "first", number, answered, seconds)
        for name, begun in {"first": 0, "second": second, "third": 70}.items():
            world.begin(name, begun, manage, world, world.path(), name, log, 12)
        world.run()
        assert world.requests["first"] >= number
        turns = [name for name, _ in groupby(log)]
        assert 1 <= len(turns) == len({*turns}), (number, answered, log)
        assert claims(world.path()) == []
        taken_over += len(turns) - 1
    assert taken_over


def test_a_newcomer_that_was_suspended_takes_nothing_by_what_it_listed_before(
    world: World, root: RemotePath
) -> None:
    put_claim(world, "gone")
    log: list[str] = []
    world.on_request = suspend(world, "first", 20, True, 75)
    world.begin("first", 0, manage, world, root, "first", log, 4)
    world.begin("second", 72, manage, world, root, "second", log, 4)
    world.run()
    assert log == ["second"] * 4


def test_a_holder_suspended_within_a_renewal_asks_who_came_meanwhile(
    world: World, root: RemotePath
) -> None:
    held = acquire(root)
    world.sleep(10)
    world.begin("other", 70, acquire, root)
    # It has just found its own claim.
    world.on_request = suspend(world, "holder", 1, True, 90)

    def renew() -> None:
        with pytest.raises(RunLocked, match="taken over"):
            held._renew()

    world.begin("holder", 0, renew)
    world.run()
    with pytest.raises(RunLocked, match="taken over"):
        held.confirm()


def test_a_late_renewal_that_cannot_list_confirms_nothing(world: World, root: RemotePath) -> None:
    held = acquire(root)
    world.sleep(61)
    put_claim(world, "other")
    world.on_request = refuse("list")
    for _ in range(2):
        with pytest.raises(OSError, match="SLOW_DOWN"):
            held.confirm()
    world.on_request = lambda request: None
    with pytest.raises(RunLocked, match="taken over"):
        held.confirm()


def test_a_renewal_that_lasts_too_long_confirms_nothing(world: World, root: RemotePath) -> None:
    held = acquire(root)
    world.sleep(40)

    def slow(request: Request) -> None:
        if request.what == "put" and request.answered:
            world.sleep(lease.TRUSTED)

    world.on_request = slow
    with pytest.raises(OSError, match="took longer than 25 seconds to be renewed"):
        held.confirm()
    world.on_request = lambda request: None
    held.confirm()
    held.release()


def test_a_holder_that_was_cut_off_for_a_while_is_not_lost_to_who_merely_asks(
    world: World, root: RemotePath
) -> None:
    held = acquire(root)
    world.sleep(30)  # its own network was away

    def ask() -> None:
        with pytest.raises(RunLocked, match="is in use by"):
            acquire(root)

    world.begin("newcomer", 0, ask)
    world.begin("holder", 20, held.confirm)
    world.run()
    held.confirm()
    held.release()


def test_the_last_look_at_a_claim_is_not_before_it_is_stale(world: World, root: RemotePath) -> None:
    held = acquire(root)

    def slow(request: Request) -> None:
        if (request.process, request.what) == ("newcomer", "put") and world.now > 1030:
            world.sleep(15)

    world.on_request = slow

    def ask() -> None:
        with pytest.raises(RunLocked, match="is in use by"):
            acquire(root)

    world.begin("newcomer", 20, ask)
    world.begin("holder", 55, held._renew)
    world.run()
    held.confirm()
    held.release()


def test_a_bucket_that_was_away_for_long_costs_nothing_if_nobody_came(
    world: World, root: RemotePath
) -> None:
    held = acquire(root)
    world.on_request = refuse("look")
    world.sleep(500)
    with pytest.raises(OSError, match="SLOW_DOWN"):
        held.confirm()
    world.on_request = lambda request: None
    held.confirm()
    held.release()


@pytest.mark.parametrize("what", ["put", "list", "look"])
def test_a_fault_that_passes_at_the_start_is_waited_for(
    world: World, root: RemotePath, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    left = [3]

    def refuse_thrice(request: Request) -> None:
        if request.what == what and left[0] > 0:
            left[0] -= 1
            raise AWAY

    world.on_request = refuse_thrice
    acquire(root).release()
    assert left == [0]
    assert "trying again for" in capsys.readouterr().err


def test_a_claim_of_a_manager_that_only_waited_holds_nothing(
    world: World, root: RemotePath, capsys: pytest.CaptureFixture[str]
) -> None:
    put_claim(world, "waited", holds=False)
    begun = world.now
    acquire(root).release()
    assert 59 < world.now - begun < 64
    assert "was wanted by process 7 on waited" in capsys.readouterr().err
    assert claims(root) == []


def test_who_keeps_meeting_somebody_that_waits_is_told_so(world: World, root: RemotePath) -> None:
    waiting = Lease(root)

    def renew() -> None:
        for _ in range(60):
            waiting._put(holds=False, patience=0.0)
            world.sleep(2)

    def come() -> None:
        with pytest.raises(RunLocked, match=r"is wanted by process \d+ on .* at the same time"):
            acquire(root)

    world.begin("waiting", 0, renew)
    world.begin("newcomer", 1, come)
    world.run()


@pytest.mark.parametrize("seed", range(8))
def test_of_many_that_come_at_once_at_most_one_has_the_run(
    monkeypatch: pytest.MonkeyPatch, world: World, root: RemotePath, seed: int
) -> None:
    monkeypatch.setattr(lease, "random", random.Random(seed))
    log: list[str] = []
    for name in ("a", "b", "c", "d"):
        world.begin(name, 0, manage, world, root, name, log, 20)
    world.run()
    assert len({*log}) == 1
    assert len(log) == 20
    assert claims(root) == []


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 200_000, b"\xff"])
def test_a_claim_that_nobody_can_read_counts_as_held_until_it_is_stale(
    world: World, root: RemotePath, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    world.objects["runs/first/lease/other.json"] = world.now, content
    begun = world.now
    acquire(root).release()
    assert 59 < world.now - begun < 64
    assert "was held by an unknown process" in capsys.readouterr().err


def test_nothing_that_a_claim_says_acts_on_the_terminal(
    world: World, root: RemotePath, capsys: pytest.CaptureFixture[str]
) -> None:
    put_claim(world, "\x1b[2J\x1b]0;title\x07", age=57)
    acquire(root).release()
    said = capsys.readouterr().err
    assert r"process 7 on \x1b[2J\x1b]0;title\x07" in said
    assert "\x1b" not in said


def test_a_lease_is_renewed_for_as_long_as_its_holder_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "RENEWED", 0.02)
    with running_store() as store:
        store.used_by(monkeypatch)
        root = run_path(f"s3://{BUCKET}/first")
        assert isinstance(root, RemotePath)
        held = acquire(root)
        try:
            (name,) = claims(root)

            def said() -> dict[str, object]:
                content: dict[str, object] = json.loads(store.content(f"first/lease/{name}"))
                return content

            begun = time.monotonic()
            while said()["number"] != held._number or held._number < 4:
                assert time.monotonic() - begun < 60
            assert said()["holds"] is True
            assert str(said()["holder"]).startswith("process ")
            held.confirm()
        finally:
            held.release()
        assert claims(root) == []
