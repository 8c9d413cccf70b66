"""Results of candidates that have hurdles, as a worker would give them, for tests without one."""

from __future__ import annotations

import random
from dataclasses import replace

from evo_nas.events import Asked, Told
from evo_nas.rungs import Hurdles
from workers.messages import Failure, Request, Result


def outcome(asked: Asked, rng: random.Random, higher_is_better: bool = False) -> Told:
    """See `_climb`."""
    return _climb(asked.birth, asked.budget, asked.hurdles, rng, higher_is_better)


def climbed(request: Request) -> Result:
    """A result that depends on the request alone: see `_climb`."""
    rng = random.Random(f"{request.genome} {request.seed}")
    told = _climb(request.birth, request.training.steps, request.hurdles, rng, False)
    failure = Failure("diverged", told.message) if told.status == "diverged" else None
    return Result(
        birth=told.birth,
        seed=request.seed,
        metric=told.metric,
        fitness=told.fitness,
        failure=failure,
        curve=told.curve,
        parameters=told.parameters,
        seconds=told.seconds,
        worker=told.worker,
        engine=told.engine,
        steps=told.steps,
        rungs=told.rungs,
        stopped=told.status == "stopped",
    )


def _climb(
    birth: int, budget: int, hurdles: Hurdles, rng: random.Random, higher_is_better: bool
) -> Told:
    """A learning curve drawn at random, up to the first hurdle that it does not reach; one in eight
    diverges somewhere on the way, after rungs or before."""
    sign = 1.0 if higher_is_better else -1.0
    level = rng.uniform(-2, 0)
    breaks = rng.randrange(budget) if rng.random() < 0.125 else budget
    told = Told(
        birth=birth,
        status="ok",
        metric=sign * level,
        fitness=level,
        message="",
        curve=((1, 1.0),),
        parameters=10,
        seconds=0.1,
        worker="w",
        engine="free",
        finished=1.0,
        steps=budget,
    )
    rungs: list[tuple[int, float]] = []
    for step, hurdle in hurdles:
        if step > breaks:
            break
        fitness = round(level - 1 + step / budget + rng.uniform(-0.2, 0.2), 1)  # with ties
        rungs.append((step, sign * fitness))
        if hurdle is not None and fitness < hurdle:
            return replace(
                told,
                status="stopped",
                metric=sign * fitness,
                fitness=fitness,
                steps=step,
                rungs=tuple(rungs),
            )
    if breaks < budget:
        return replace(
            told,
            status="diverged",
            metric=None,
            fitness=None,
            message="the loss is nan",
            steps=breaks,
            rungs=tuple(rungs),
        )
    return replace(told, rungs=tuple(rungs))
