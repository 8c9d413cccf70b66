"""The edits behind the mutations, by what they touch.

An edit changes a draft in place and returns the details for the record, or None if the
draw found nothing to do. It need not check the result: `genomes.mutation` builds, validates
and prunes the draft, and draws again if the child is invalid or outside the search space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from genomes.draft import Draft
from genomes.space import SearchSpace

Record: TypeAlias = dict[str, object]
Edit: TypeAlias = Callable[[Draft, SearchSpace, np.random.Generator], Record | None]
