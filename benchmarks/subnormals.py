"""What it gains that the native engine takes subnormal numbers for zero.

    python benchmarks/subnormals.py TEXT [--steps 600] [--rounds 3] [--cells gru lstm ...]

``TEXT`` is any text of some 100 kB. Each cell trains on its characters, hidden size 64, at learning
rates from the default to one at which it saturates: by the engine as it is, and by one built here
from the same sources without the flush. Each training has a process of its own, the two sides take
turns, and of each side the median of its CPU seconds counts. The metrics show what it costs:
"same" are the same bits.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("genomes", "workers")
GUARDED = "before_ | FLUSH"
RATES = (3e-3, 1e-2, 3e-2, 1e-1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cells", nargs="+", default=["gru", "lstm", "rnn"])
    parser.add_argument("--one", nargs=2, metavar=("CELL", "RATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(one(options.text, options.one[0], float(options.one[1]), options.steps)))
        return
    print("| cell | learning rate | with subnormals, CPU s | without, CPU s | ratio | metric |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        keeping = without_the_flush(Path(scratch))
        for cell in options.cells:
            for rate in RATES:
                print(row(cell, rate, keeping, options), flush=True)


def without_the_flush(folder: Path) -> Path:
    """The packages in a folder, with an engine that computes with subnormal numbers."""
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "lib")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    header = folder / "workers" / "engine" / "native" / "source" / "subnormal.h"
    source = header.read_text()
    if source.count(GUARDED) != 1:
        raise SystemExit(f"{header.name} does not say {GUARDED!r} once: adapt this benchmark.")
    header.write_text(source.replace(GUARDED, "before_"))
    build = (
        "from workers.engine.native.build import *; build_all(Path('workers/engine/native/lib'))"
    )
    subprocess.run([sys.executable, "-c", build], cwd=folder, check=True)
    return folder


def row(cell: str, rate: float, keeping: Path, options: argparse.Namespace) -> str:
    """One line of the table."""
    text = str(options.text.resolve())
    command = [sys.executable, str(Path(__file__).resolve()), text, "--steps", str(options.steps)]
    command += ["--one", cell, str(rate)]
    seconds: dict[Path, list[float]] = {keeping: [], ROOT: []}
    metrics = {}
    for _ in range(options.rounds):
        for packages in seconds:
            environment = os.environ | {"PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, env=environment, cwd=packages, check=True, stdout=subprocess.PIPE
            )
            found = json.loads(done.stdout)
            if not found["from"].startswith(str(packages)):
                raise SystemExit(f"the packages came from {found['from']}, not from {packages}")
            seconds[packages].append(found["seconds"])
            metrics[packages] = found["metric"]
    slow, fast = (statistics.median(seconds[side]) for side in (keeping, ROOT))
    before, after = metrics[keeping], metrics[ROOT]
    said = f"{after}, same" if before == after else f"{before}, now {after}"
    return f"| {cell} | {rate:g} | {slow:.2f} | {fast:.2f} | {slow / fast:.2f} | {said} |"


def one(text: Path, cell: str, rate: float, steps: int) -> dict[str, object]:
    """Train one cell: CPU seconds, metric, and where the packages lie."""
    import workers
    from genomes import published
    from workers.messages import Request, Training
    from workers.tasks import load_task
    from workers.training import evaluate

    task = load_task("text", str(text), {})
    training = Training(steps=steps, learning_rate=rate, schedule="constant", engine="native")
    begin = time.process_time()
    result = evaluate(Request(0, published(cell).to_json(), 1, training), task)
    took = time.process_time() - begin
    metric = "diverged" if result.metric is None else f"{result.metric:.9g}"
    return {"seconds": took, "metric": metric, "from": str(workers.__file__)}


if __name__ == "__main__":
    main()
