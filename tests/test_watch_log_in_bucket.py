"""The log of a session in a bucket, where no object grows."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from pretended_store import Request, World

from evo_nas.watching import log as logging
from evo_nas.watching.log import OBJECT_SECONDS, RunLog, open_log

AWAY = OSError("AWS Error NETWORK_CONNECTION: curlCode: 7, Couldn't connect to server")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World().used_by(monkeypatch)
    monkeypatch.setattr(logging, "time", SimpleNamespace(monotonic=lambda: world.now))
    return world


def logs(world: World) -> dict[str, list[str]]:
    """The events in each object."""
    return {
        name.removeprefix("runs/first/logs/"): [
            json.loads(line)["event"] for line in content.splitlines()
        ]
        for name, (_, content) in sorted(world.objects.items())
    }


def result(log: RunLog, event: str) -> None:
    log.recorded([{"event": event}])


def test_lines_are_put_together_for_a_minute_whether_more_come_or_not(world: World) -> None:
    log = open_log(world.path())
    log.tick()
    assert logs(world) == {}
    result(log, "a")
    world.sleep(20)
    result(log, "b")
    log.tick()
    assert logs(world) == {}
    world.sleep(OBJECT_SECONDS)
    log.tick()
    log.tick()
    assert logs(world) == {"001-00000.jsonl": ["a", "b"]}
    result(log, "c")
    log.close()
    assert logs(world) == {"001-00000.jsonl": ["a", "b"], "001-00001.jsonl": ["c"]}


def test_many_lines_do_not_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "OBJECT_BYTES", 100)
    log = open_log(world.path())
    for event in "abcd":
        result(log, event)
    assert logs(world) == {"001-00000.jsonl": ["a", "b"], "001-00001.jsonl": ["c", "d"]}


def test_two_sessions_begun_at_once_do_not_write_over_each_other(world: World) -> None:
    first, second = open_log(world.path()), open_log(world.path())

    def begin_the_other(request: Request) -> None:
        if request.what == "list" and request.answered:
            world.on_request = lambda request: None
            second.close()  # between the look of the first at the folder and its first object

    result(second, "b")
    result(first, "a")
    world.on_request = begin_the_other
    first.close()
    assert logs(world) == {"001-00000.jsonl": ["b"], "002-00000.jsonl": ["a"]}


@pytest.mark.parametrize("answered", [False, True])
def test_what_a_tick_could_not_write_is_written_a_minute_later_without_a_word(
    world: World, answered: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_log(world.path())

    def refuse(request: Request) -> None:
        if request.what == "put" and request.answered == answered:
            raise AWAY

    result(log, "a")
    world.sleep(OBJECT_SECONDS)
    world.on_request = refuse
    log.tick()
    tried = world.requests.total()
    log.tick()
    assert world.requests.total() == tried, "who is mute must not be asked in every poll"
    world.on_request = lambda request: None
    world.sleep(OBJECT_SECONDS)
    result(log, "b")
    log.close()
    events = [event for each in logs(world).values() for event in each]
    assert events == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_what_only_the_end_could_write_is_no_warning(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_log(world.path())
    result(log, "a")
    world.sleep(OBJECT_SECONDS)

    def refuse(request: Request) -> None:
        raise AWAY

    world.on_request = refuse
    log.tick()
    world.on_request = lambda request: None
    log.close()
    assert logs(world) == {"001-00000.jsonl": ["a"]}
    assert capsys.readouterr().err == ""
