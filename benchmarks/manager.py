"""How fast the manager is: results a second, resuming, lineage, and how busy it keeps workers.

    python benchmarks/manager.py [results] [long] [busy] [--births 100000] [--folder DIR]

- ``results``: free evaluations through the real loop, strategy and record, beside the same
  without a record; and through two Ray workers that take cohorts of 1, 4 and 16.
- ``long``: a run of many births is made in that way (about 2 minutes), then resumed and read, each
  command as a whole process beside ``python -c pass``; and the sum that resuming goes by beside a
  replay event by event.
- ``busy``: searches with evaluations of one second on two Ray workers.

The folder decides which disk is written to; it needs 200 MB.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from searching import FreePool, config_of, search

from evo_nas.events import Asked
from evo_nas.past import COLUMNS, past_of
from evo_nas.record import open_run, read_events
from evo_nas.strategies import make_strategy
from workers.limits import Limits, Pool
from workers.open_pool import open_pool

ROUNDS = 5


def results(folder: Path, births: int) -> None:
    """Results settled and recorded in a second, with evaluations that cost nothing."""
    count = min(births, 4000)
    seeds = iter(range(1000))

    def searched(pool: Pool, run: Path | None) -> float:
        return search(pool, config_of(folder, count, seed=next(seeds)), run).seconds

    print(f"free evaluations, {count} births, median of {ROUNDS} rounds")
    print(f"{'workers':>7} {'results/s':>10} {'without a record':>17} {'ratio':>6}")
    for capacity in (1, 2, 8, 16):
        rates, bare, ratios = [], [], []
        for number in range(ROUNDS):
            run = folder / f"results-{capacity}-{number}"
            recorded = searched(FreePool(capacity), run)
            nothing = searched(FreePool(capacity), None)
            shutil.rmtree(run)
            rates.append(count / recorded)
            bare.append(count / nothing)
            ratios.append(recorded / nothing)
        middle = [statistics.median(values) for values in (rates, bare, ratios)]
        print(f"{capacity:>7} {middle[0]:>10,.0f} {middle[1]:>17,.0f} {middle[2]:>6.2f}")
    _through_ray(folder, count, searched)


def _through_ray(folder: Path, count: int, searched: Callable[[Pool, Path], float]) -> None:
    """Cohorts take turns, so that what else the machine does falls on all of them."""
    sizes, rounds = (1, 4, 16), 3
    times: dict[int, list[float]] = {cohort: [] for cohort in sizes}
    for number in range(rounds):
        for cohort in sizes:
            pool = open_pool(
                2,
                None,  # type: ignore[arg-type]
                Limits(),
                evaluator="evaluators:free",
                cohort=cohort,
            )
            run = folder / f"results-ray-{cohort}-{number}"
            try:
                search(pool, config_of(folder, 50), None)  # until both workers are there
                times[cohort].append(searched(pool, run))
            finally:
                pool.close()
            shutil.rmtree(run)
    for cohort, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(times[1], taken, strict=True))
        rate = count / statistics.median(taken)
        print(f"through 2 Ray workers, cohort {cohort:>2}: {rate:,.0f} results/s, {ratio:.2f} x")


def long(folder: Path, births: int) -> None:
    """Make a long run, resume it and ask where its cells come from."""
    run = folder / "long"
    config = config_of(folder, births)
    searched = search(FreePool(8), config, run)
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    files = len(list((run / "segments").iterdir()))
    print(
        f"{births:,} births: {births / searched.seconds:,.0f} results/s; {size / 1e6:.0f} MB in "
        f"{files} files of events"
    )
    last = max(event.birth for event in searched.told)
    words = {
        "python -c pass": ["-c", "pass"],
        "resume (nothing left to do)": ["-m", "evo_nas", "resume", str(run), "--workers", "0"],
        "lineage": ["-m", "evo_nas", "lineage", str(run)],
        "lineage --birth": ["-m", "evo_nas", "lineage", str(run), "--birth", str(last)],
        "lineage --best 10": ["-m", "evo_nas", "lineage", str(run), "--best", "10"],
        "lineage --mutations": ["-m", "evo_nas", "lineage", str(run), "--mutations"],
        "lineage --children": ["-m", "evo_nas", "lineage", str(run), "--birth", "0", "--children"],
        "status": ["-m", "evo_nas", "status", str(run)],
    }
    print(f"seconds, {ROUNDS} rounds{'':>14} {'min':>6} {'median':>7} {'max':>6}")
    times: dict[str, list[float]] = {name: [] for name in words}
    for _ in range(ROUNDS):
        for name, arguments in words.items():
            times[name].append(_seconds(lambda a=arguments: _process(a)))  # type: ignore[misc]
    for name, taken in times.items():
        _print_times(name, taken)
    _resuming(run, folder)


def _resuming(run: Path, folder: Path) -> None:
    """What resuming does before the first candidate is asked for, and two slower ways."""
    bare = folder / "bare"
    shutil.copytree(run, bare)
    shutil.rmtree(bare / "checkpoints")

    def by_sum(directory: Path) -> None:
        with open_run(directory, COLUMNS) as record:
            strategy = make_strategy(config_of(folder, 100))
            past, _ = past_of(directory, record.header, record.reading, strategy.memory)
            strategy.restore(past)

    def by_replay() -> None:
        strategy = make_strategy(config_of(folder, 100))
        for event in read_events(run)[0]:
            if isinstance(event, Asked):
                strategy.note(event)
            else:
                strategy.tell(event)

    ways: dict[str, Callable[[], None]] = {
        "a strategy brought up to date": lambda: by_sum(run),
        "the same without checkpoints": lambda: by_sum(bare),
        "replayed event by event": by_replay,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            times[name].append(_seconds(way))
    first = times["a strategy brought up to date"]
    for name, taken in times.items():
        ratio = statistics.median(t / f for t, f in zip(taken, first, strict=True))
        _print_times(name, taken, f"   {ratio:5.1f} x the first")


def busy(folder: Path, births: int) -> None:
    """How much of the wall time two workers are at work, with evaluations of a second."""
    count = 60
    print(f"busy share of 2 Ray workers, {count} evaluations")
    for evaluator in ("one_second", "about_one_second"):
        for lag in (0, 8):
            pool = open_pool(2, None, Limits(), evaluator=f"evaluators:{evaluator}")  # type: ignore[arg-type]
            try:
                search(pool, config_of(folder, 4), None)  # until both workers are there
                run = folder / f"busy-{evaluator}-{lag}"
                searched = search(pool, config_of(folder, count, lag), run)
            finally:
                pool.close()
            share = sum(event.seconds for event in searched.told) / (2 * searched.seconds)
            order = f"deterministic, lag {lag}" if lag else "free-running"
            print(f"{evaluator.replace('_', ' '):<17} {order:<21} {share:.1%}")


def _process(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def _seconds(work: Callable[[], None]) -> float:
    gc.collect()  # what the one before left behind is not this one's
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _print_times(name: str, taken: list[float], more: str = "") -> None:
    middle = statistics.median(taken)
    print(f"{name:<31} {min(taken):>6.2f} {middle:>7.2f} {max(taken):>6.2f}{more}")


PARTS = {"results": results, "long": long, "busy": busy}


def main() -> None:
    """Run the parts named on the command line, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"Of {', '.join(PARTS)}; all.")
    parser.add_argument("--births", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="Where runs are written; a new one in /tmp.")
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; parts are: {', '.join(PARTS)}.")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.parts or PARTS:
            PARTS[name](Path(folder), options.births)


if __name__ == "__main__":
    main()
