"""What watching costs: a search that is logged and shown, and a reader that follows a long run.

    python benchmarks/watching.py [inside] [follow] [--births 100000] [--run DIR] [--folder DIR]

- ``inside``: microseconds a result for each watcher, and results a second of the real loop with
  evaluations that cost nothing: with nobody watching and with everybody, in turn. A Ray is started,
  so that its metrics are real.
- ``follow``: ``evo-nas status --watch`` of a run of many births: its first look, a look at nothing
  new, and looks at one new segment each, beside a whole reading. The run is made (minutes for
  100,000 births), unless ``--run`` names one; it is copied and not changed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from evaluators import made_up
from searching import FreePool, config_of, header_of, search

from evo_nas.births import read_births
from evo_nas.events import Told
from evo_nas.interrupt import Interrupt
from evo_nas.loop import told_of
from evo_nas.past import COLUMNS
from evo_nas.record import create_run, open_run
from evo_nas.searching import search_in
from evo_nas.status import summary
from evo_nas.strategies import make_strategy
from evo_nas.watching.log import open_log
from evo_nas.watching.ray_metrics import RayMetrics
from evo_nas.watching.scalars import Scalars
from evo_nas.watching.session import Watch
from evo_nas.watching.view import View
from evo_nas.watching.watch import Looker
from workers import runtime
from workers.messages import Request
from workers.metrics import metrics_of

ROUNDS = 5


def inside(folder: Path, births: int, run: Path | None) -> None:
    """What a search pays for being watched."""
    events = _results(folder, 2000)
    runtime.start("local", workers=1)
    try:
        metrics = metrics_of("benchmark")
        assert metrics is not None
        watches = {
            "log": Watch(open_log(folder / "log")),
            "scalars for TensorBoard": Watch(None, [Scalars(folder / "scalars")]),
            "Ray's metrics": Watch(None, [RayMetrics(metrics)]),
        }
        print(f"microseconds a result, median of {ROUNDS} rounds of {len(events)}")
        for name, watch in watches.items():
            taken = [_seconds(lambda w=watch: _tell(w, events)) for _ in range(ROUNDS)]  # type: ignore[misc]
            print(f"{name:<31} {1e6 * statistics.median(taken) / len(events):>7.1f}")
        count = min(births, 2000)
        seeds = iter(range(1000))
        alone, watched = [], []
        for number in range(ROUNDS):
            alone.append(_searched(folder / f"alone{number}", count, next(seeds), None))
            all_of_them = Watch(
                open_log(folder / f"log{number}"),
                [RayMetrics(metrics), Scalars(folder / f"scalars{number}")],
            )
            watched.append(_searched(folder / f"watched{number}", count, next(seeds), all_of_them))
        ratio = statistics.median(b / a for a, b in zip(alone, watched, strict=True))
        print(
            f"free evaluations, {count} births, 8 at once: "
            f"{count / statistics.median(alone):,.0f} results/s with nobody watching, "
            f"{count / statistics.median(watched):,.0f} with everybody; ratio of times {ratio:.3f}"
        )
    finally:
        runtime.stop()


def _results(folder: Path, count: int) -> list[Told]:
    config = config_of(folder, count)
    strategy = make_strategy(config)
    asked = strategy.ask()
    request = Request(0, asked.genome, asked.seed, config.training)
    return [told_of(replace(made_up(request), birth=birth), float(birth)) for birth in range(count)]


def _tell(watch: Watch, events: list[Told]) -> None:
    for number, event in enumerate(events):
        view = View({"ok": number + 1}, event.metric, 1000.0, 8, 8, 0)
        watch.told([event], view)
        watch.tick(view)


def _searched(run: Path, count: int, seed: int, watch: Watch | None) -> float:
    config = config_of(run.parent, count, seed=seed)
    with create_run(run, header_of(config)) as record:
        return _seconds(lambda: search_in(config, record, FreePool(8), Interrupt(), watch=watch))


def follow(folder: Path, births: int, run: Path | None) -> None:
    """What a reader pays for following a long run."""
    there = folder / "long"
    if run is None:
        search(FreePool(8), config_of(folder, births), there)
    else:
        shutil.copytree(run, there)
    looker = Looker(there)
    first = _processor(looker.look)
    idle = [_processor(looker.look) for _ in range(ROUNDS)]
    new = []
    with open_run(there, COLUMNS) as record:
        _, known, _ = read_births(there)
        asked, told = known.events(int(known.birth[-1]))
        assert told is not None
        for number in range(3 * ROUNDS):
            birth = asked.birth + 1 + number
            record.append([replace(asked, birth=birth), replace(told, birth=birth)])
            new.append(_processor(looker.look))
    whole = [_processor(lambda: summary(*read_births(there)[:2])) for _ in range(ROUNDS)]
    print(f"{len(known):,} births, processor seconds (min, median, max)")
    rows = {
        "the first look": [first],
        "a look at nothing new": idle,
        "a look at a new segment": new,
        "a whole reading and summary": whole,
    }
    for name, taken in rows.items():
        print(f"{name:<31} {min(taken):>7.4f} {statistics.median(taken):>7.4f} {max(taken):>7.4f}")


def _processor(work: Callable[[], object]) -> float:
    """Seconds of processor time, which does not depend on who else is at work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


PARTS = {"inside": inside, "follow": follow}


def main() -> None:
    """Run the parts named on the command line, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"Of {', '.join(PARTS)}; all.")
    parser.add_argument("--births", type=int, default=100_000)
    parser.add_argument("--run", type=Path, help="A run to follow a copy of.")
    parser.add_argument("--folder", type=Path, help="Where files are written; a new one in /tmp.")
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; parts are: {', '.join(PARTS)}.")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.parts or PARTS:
            PARTS[name](Path(folder), options.births, options.run)


if __name__ == "__main__":
    main()
