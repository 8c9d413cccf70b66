"""The first evaluations of a recorded run once more, with engine torch and native, in turn.

    python benchmarks/recorded.py RUN [--births 60] [--data FILE]

Reads genomes, seeds and training from the record, evaluates each of them with both engines in this
process on one thread, and prints the ratio of the total seconds: what the native engine saves a
search. Metrics of both are compared too: the engines differ in the last bits, so trainings drift
apart, but not far.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import replace

import torch

from evo_nas.events import Asked
from evo_nas.record import read_events, read_header
from evo_nas.sessions import last_config
from evo_nas.setting import load_same_data
from workers.messages import Request, Result
from workers.training import evaluate

ENGINES = ("torch", "native")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="a run directory")
    parser.add_argument("--births", type=int, default=60, help="how many, from birth 0 on")
    parser.add_argument("--data", help="where the data lie now, if not where they lay")
    options = parser.parse_args()
    torch.set_num_threads(1)
    header = read_header(options.run)
    config = last_config(options.run, header)
    if options.data is not None:
        config = replace(config, task=replace(config.task, data=options.data))
    task = load_same_data(config, header)
    asked = [event for event in read_events(options.run)[0] if isinstance(event, Asked)]
    seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    apart, failed = [], dict.fromkeys(ENGINES, 0)
    for event in sorted(asked, key=lambda event: event.birth)[: options.births]:
        training = replace(config.training, hidden_size=event.hidden_size)
        results: dict[str, Result] = {}
        for engine in ENGINES:
            request = Request(
                event.birth, event.genome, event.seed, replace(training, engine=engine)
            )
            results[engine] = evaluate(request, task)
            seconds[engine].append(results[engine].seconds)
            failed[engine] += results[engine].failure is not None
        both = [results[engine].metric for engine in ENGINES]
        if both[0] is not None and both[1] is not None:
            apart.append(both[1] - both[0])
        print(event.birth, *(f"{e} {results[e].seconds:.2f} s" for e in ENGINES), flush=True)
    totals = {engine: math.fsum(times) for engine, times in seconds.items()}
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    print(f"{len(ratios)} evaluations:", *(f"{e} {s:.1f} s," for e, s in totals.items()), end=" ")
    print(
        f"ratio {totals['torch'] / totals['native']:.2f} (each: median "
        f"{statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(f"failed: {failed}; metric native - torch: mean {statistics.fmean(apart):+.5f}, ", end="")
    print(f"largest {max(map(abs, apart)):.5f}")


if __name__ == "__main__":
    main()
