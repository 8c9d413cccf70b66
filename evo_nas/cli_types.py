"""Kinds of command line arguments."""

from __future__ import annotations

from typing import Any

import click


class RunDirectory(click.ParamType):  # type: ignore[type-arg]
    """A run: a directory, or a URI such as ``s3://BUCKET/runs/first``."""

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A `evo_nas.record.paths.RunPath`."""
        from evo_nas.errors import RecordError
        from evo_nas.record.paths import run_path

        try:
            return run_path(value)
        except RecordError as error:
            self.fail(str(error), param, ctx)
