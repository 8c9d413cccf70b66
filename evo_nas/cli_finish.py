"""How a session of a search ends on the command line."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from evo_nas.interrupt import INTERRUPTED

if TYPE_CHECKING:
    from evo_nas.search import Outcome


def finish(outcome: Outcome, as_json: bool) -> None:
    """Print how a session ended; exit 130 if it was interrupted, 1 if no evaluation finished."""
    from evo_nas import show
    from evo_nas.terminal import put, put_error

    if as_json:
        put(json.dumps(show.outcome_json(outcome), indent=2))
    else:
        put(show.outcome_text(outcome))
    if outcome.reason == "interrupted":
        put_error(f"stopped; go on with: {show.resume_command(outcome)}")
        sys.exit(INTERRUPTED)
    if outcome.note:
        put_error(f"the search ended early: {outcome.note}")
    if not show.any_finished(outcome):
        sys.exit(1)
