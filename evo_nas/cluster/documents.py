"""Reads the YAML of a cluster's file, whoever wrote it: what it costs is bounded by its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evo_nas.config import bounded_text
from evo_nas.errors import ClusterError

MOST = 1_000_000
"""Characters and parts that a document may stand for, its aliases written out."""
_DIGITS = 100
"""Of an integer; Python itself refuses to write out what has thousands."""


def read_documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a file.

    Raises:
        ClusterError: If there is no such file, it is no YAML, or a document is no table or stands
            for very much.
        evo_nas.config.ConfigError: If it is no ordinary file, or too large.
    """
    import yaml

    try:
        documents = _documents(bounded_text(path), path)
    except FileNotFoundError:
        raise ClusterError(f"{path}: there is no such file.") from None
    except UnicodeDecodeError as error:
        raise ClusterError(f"{path}: cannot be read as text: {error}.") from None
    except yaml.YAMLError as error:
        raise ClusterError(f"{path}: is not YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise ClusterError(f"{path}: is nested too deeply.") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What PyYAML ends with at a number or date that is none.
        raise ClusterError(
            f"{path}: holds a value that is not what it is written as: {error}."
        ) from None
    for document in documents:
        if not isinstance(document, dict):
            raise ClusterError(f"{path}: is no table of keys and values at its top.")
    return documents


def _documents(text: str, path: Path) -> list[Any]:
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        found = []
        while loader.check_node():
            node = loader.get_node()
            if _size(node, {}) > MOST:
                raise ClusterError(
                    f"{path}: stands for more than {MOST:,} characters, because it names parts of "
                    "itself (*...) within others. Write them out."
                )
            found.append(loader.construct_document(node))
        return [document for document in found if document is not None]
    finally:
        loader.dispose()


def _size(node: Any, known: dict[int, float]) -> float:
    """Of what a node of YAML stands for; without end if it is within itself."""
    import yaml

    if id(node) not in known:
        known[id(node)] = float("inf")  # while we are within it
        if isinstance(node, yaml.ScalarNode):
            size = 1.0 + len(node.value)
            if size > _DIGITS and node.tag == "tag:yaml.org,2002:int":
                raise ValueError(f"an integer of {len(node.value):,} digits")
        elif isinstance(node, yaml.MappingNode):
            size = 1 + sum(_size(part, known) for pair in node.value for part in pair)
        else:
            size = 1 + sum(_size(part, known) for part in node.value)
        known[id(node)] = size
    return known[id(node)]
