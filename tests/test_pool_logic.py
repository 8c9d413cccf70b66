"""What the pool decides, hour by hour, with a Ray that is simulated: see `simulated_ray`."""

from __future__ import annotations

from misbehaving import asked
from simulated_ray import Actor, SimulatedRay, Stream, settled_after, simulated

from workers.messages import Progress, Request


def test_signs_of_life_keep_a_long_training_and_are_no_points_of_its_curve() -> None:
    ray = SimulatedRay()
    hours = 2 * 3600

    def training(actor: Actor, request: Request) -> Stream:
        reports = [(360.0 * n, Progress(0, n, 20, 1.0)) for n in range(1, 20)]
        signs = [(10.0 * n, Progress(0, n // 36, 20, 1.0, on_curve=False)) for n in range(1, 720)]
        return ray.result(request, hours, *sorted(reports + signs, key=lambda item: item[0]))

    ray.on_evaluation = training
    with simulated(ray) as pool:
        pool.submit(asked("behaves"))
        assert settled_after(pool, ray, hours - 1) == []
        assert len(ray.actors) == 1
        (job,) = pool._jobs()
        assert [step for step, _ in job.curve] == list(range(1, 20))
        (result,) = settled_after(pool, ray, 2)
        assert result.failure is None
