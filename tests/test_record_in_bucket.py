"""A record in a bucket that is away at any moment, or of which another manager took the lease."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from pretended_store import Request, World

from evo_nas.events import Event
from evo_nas.record import Record, create_run, open_run, read_events
from evo_nas.record.bucket import PATIENCE, RemotePath
from evo_nas.record.durable import RunLocked
from evo_nas.sessions import note_session
from tests.test_record import asked, header, told
from tests.test_status_watch import config_of

AWAY = OSError("AWS Error NETWORK_CONNECTION: curlCode: 7, Couldn't connect to server")
BIRTHS = 9
HEADER = header()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World().used_by(monkeypatch)


def write(root: RemotePath) -> list[Event]:
    """A run with checkpoints and a second session; what is read of it by its writer."""
    with create_run(root, HEADER, checkpoint_segments=4) as record:
        for birth in range(4):
            record.append([asked(birth), told(birth)])
    with open_run(root, checkpoint_segments=4) as record:
        note_session(record.directory, config_of(9), record.held)
        for birth in range(4, BIRTHS):
            record.append([asked(birth), told(birth)])
        return read_events(record.directory)[0]


def run_in(world: World) -> dict[str, bytes]:
    """What a store holds, but for a claim that could not be taken away."""
    return {name: put[1] for name, put in world.objects.items() if "/lease/" not in name}


def away(world: World, number: int, seconds: float) -> Callable[[Request], None]:
    """Lets the store be away from a request on."""
    until: list[float] = []

    def at(request: Request) -> None:
        if sum(world.requests.values()) >= number and not request.answered:
            until[:] = until or [world.now + seconds]
            if world.now < until[0]:
                raise AWAY

    return at


def test_a_bucket_that_is_away_at_any_moment_of_a_record_costs_it_time_alone(
    monkeypatch: pytest.MonkeyPatch, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    events = write(world.path())
    assert len(events) == 2 * BIRTHS
    requests = sum(world.requests.values())
    assert requests > 80
    undisturbed = run_in(world)
    for number in range(1, requests + 1, 4):
        other = World().used_by(monkeypatch)
        other.on_request = away(other, number, 15)
        assert write(other.path()) == events, number
        assert run_in(other) == undisturbed, number
        assert other.now > 1015


@pytest.mark.parametrize("what", ["list", "get", "look", "put", "delete"])
def test_a_run_that_has_begun_waits_ten_minutes_whatever_it_is_at(
    world: World, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    until: list[float] = []

    def refuse(request: Request) -> None:
        if request.what == what:
            until[:] = until or [world.now + PATIENCE - 40]
            if world.now < until[0]:
                raise AWAY

    with create_run(world.path(), HEADER, checkpoint_segments=4) as record:
        world.on_request = refuse
        for birth in range(8):
            record.append([asked(birth), told(birth)])
        assert len(read_events(record.directory)[0]) == 16
    assert until
    assert world.now > until[0]
    assert "trying again for 600 seconds" in capsys.readouterr().err


def test_who_was_taken_over_is_told_so_though_the_other_one_has_written_in_its_place(
    world: World,
) -> None:
    root = world.path()

    def taken_over(change: Callable[[Record], object]) -> None:
        with create_run(root / str(len(world.objects)), HEADER) as first:
            first.append([asked(0), told(0)])
            world.sleep(70)
            with open_run(first.directory) as second:
                second.append([asked(1), told(1)])
                for _ in range(2):
                    with pytest.raises(RunLocked, match="was taken over by another manager"):
                        change(first)
                second.append([asked(2), told(2)])
                assert len(read_events(first.directory)[0]) == 6

    taken_over(lambda record: record.append([asked(1)]))
    taken_over(lambda record: record.checkpoint())
    taken_over(lambda record: note_session(record.directory, config_of(9), record.held))


def test_a_checkpoint_removes_many_objects_at_once(world: World) -> None:
    together = threading.Barrier(8, timeout=60)

    def meet(request: Request) -> None:
        if request.what == "delete" and not request.answered:
            together.wait()

    with create_run(world.path(), HEADER, checkpoint_segments=1000) as record:
        for birth in range(40):
            record.append([asked(birth), told(birth)])
        world.on_request = meet
        record.checkpoint()
        world.on_request = lambda request: None
    assert len(read_events(world.path())[0]) == 80
    assert len(list((world.path() / "segments").iterdir())) == 1
