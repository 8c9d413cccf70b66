"""Ray's own validator of files for `ray up`, which needs no cluster."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Mapping
from typing import Any


class NoValidator(RuntimeError):
    """This Ray has no validator where others have it; the message names its version."""


def what_ray_finds(config: Mapping[str, Any]) -> list[str]:
    """Why Ray refuses the file, as one message; empty if it accepts it.

    Args:
        config: The parsed file.

    Raises:
        NoValidator: If Ray lacks the functions for it, which are private.
    """
    import click
    import jsonschema
    import ray

    try:
        from ray.autoscaler._private.util import prepare_config, validate_config
    except ImportError as error:
        raise NoValidator(
            f"Ray {ray.__version__} does not check files for 'ray up' as others do: {error}. "
            "Install the Ray of constraints.txt."
        ) from error
    said = io.StringIO()
    # What Ray logs and prints is no part of this command's output, but the reason of an abort.
    logger = logging.getLogger("ray.autoscaler._private.util")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            validate_config(prepare_config(copy.deepcopy(dict(config))))
    except jsonschema.ValidationError as error:
        where = ".".join(str(part) for part in error.absolute_path)
        return [f"Ray refuses the file: {f'{where}: ' if where else ''}{error.message}"]
    except click.ClickException:
        return [f"Ray refuses the file: {' '.join(said.getvalue().split())}"]
    except (ValueError, RuntimeError, AssertionError) as error:
        return [f"Ray refuses the file: {error}"]
    except (LookupError, TypeError, AttributeError, OSError) as error:
        # What Ray does to a table that is none, or lacks what it takes for granted, and for a
        # provider whose files it does not bring.
        return [f"Ray refuses the file: {type(error).__name__}: {error}"]
    finally:
        logger.setLevel(level)
    return []
