"""What a job does on the cluster: it begins a run or goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from evo_nas.cluster.runs import refuse_vanishing
from evo_nas.config import with_overrides
from evo_nas.config_tables import SearchConfig
from evo_nas.errors import ClusterError, RecordError

if TYPE_CHECKING:
    from evo_nas.search import Outcome

Mode = Literal["either", "new", "resume"]
ADDRESS = "auto"


def run_job(config: SearchConfig, run: str, mode: Mode, flags: dict[str, Any]) -> Outcome:
    """Search on the cluster of this machine.

    Args:
        config: Of the file.
        run: The run directory.
        mode: ``new`` refuses a run that exists, ``resume`` one that does not.
        flags: Of the budget, workers, data and a task of the user's own; None for those not given.

    Raises:
        ClusterError: If the run directory is relative, workers is 0, or the run exists and should
            not.
        SearchError, RecordError: If the configuration names code that ``flags`` do not
            (`evo_nas.strangers`), and as `evo_nas.search.start` and `resume`, which ask for
            machines last of all.
    """
    from evo_nas.search import resume, start
    from evo_nas.strangers import refuse_unsaid, refuse_unsaid_scalars

    refuse_vanishing(run)
    exists = mode != "resume" and _exists(run)
    flags = flags | {"address": ADDRESS}
    source = "the configuration of this job"
    settings = with_overrides(config, run=run, **flags)
    refuse_unsaid(settings, source, task=flags.get("task"), address=None)
    if not exists and mode != "resume":  # `resume` knows where a run has its scalars
        refuse_unsaid_scalars(settings, source, flags.get("tensorboard"))
    if settings.workers.workers == 0:
        raise ClusterError(
            "workers is 0, which evaluates in the job's own process and uses no machine of the "
            "cluster. Leave it out, or write how many."
        )
    if mode == "new" and exists:
        raise ClusterError(
            f"the run {run} exists. Go on with it by adding --resume to the command that submitted "
            "this job, or give a new --run."
        )
    return resume(run, flags, config) if exists or mode == "resume" else start(settings)


def _exists(run: str) -> bool:
    from evo_nas.record import read_header

    try:
        read_header(run)
    except RecordError:
        return False  # none, or a damaged one: the search says which, and refuses the latter
    return True
