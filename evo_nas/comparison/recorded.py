"""Who takes part in a comparison, as its header says: it may be a stranger's, so all is checked."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from evo_nas.comparison.entrants import BASELINE, SEARCH, Entrant, Field, Trial
from evo_nas.config_check import MAX_INTEGER
from evo_nas.errors import RecordError
from evo_nas.record import Header, RunPath

Made = TypeVar("Made", Trial, Entrant, Field)


def field_from(header: Header, source: RunPath) -> Field:
    """What `Field.plain` wrote into the header of a comparison or tuning.

    Args:
        header: Of the comparison.
        source: Where it lies, for the message.

    Raises:
        RecordError: If it is not what was written: its header may be a stranger's.
    """
    try:
        return _field(header.config["field"])
    except (LookupError, TypeError, ValueError) as error:
        raise RecordError(
            f"{source} is no comparison that this program wrote ({error!r}). Move it away."
        ) from error


def _field(document: Mapping[str, Any]) -> Field:
    entrants = [
        _sound(
            Entrant(
                **{
                    **entry,
                    "roles": tuple(entry["roles"]),
                    "tuned": tuple(
                        _sound(Trial(**{**trial, "metrics": tuple(trial["metrics"])}))
                        for trial in entry["tuned"]
                    ),
                }
            )
        )
        for entry in document["entrants"]
    ]
    field = _sound(Field(**{**document, "entrants": tuple(entrants)}))
    if SEARCH not in entrants[field.judged].roles:
        raise ValueError("who is judged is no cell of the run")
    if field.rival is not None and BASELINE not in entrants[field.rival].roles:
        raise ValueError("the rival is no baseline")
    known, mutation = field.control, field.control.get("mutation")
    if "birth" in known and not (
        {"run", "evaluations", "mutation"} <= known.keys()
        and isinstance(mutation, Mapping)
        and {"operator"} <= mutation.keys()
    ):
        raise ValueError("the random search lacks what is known of it")
    return field


def _sound(made: Made) -> Made:
    """The same, if each of its values is of the kind that its field says.

    Raises:
        TypeError: Naming a field whose value is not.
    """
    for name, hint in get_type_hints(type(made)).items():
        if not _is(getattr(made, name), hint):
            raise TypeError(f"its {name} is of another kind")
    return made


def _is(value: object, hint: Any) -> bool:
    """Whether a value of JSON, its lists as tuples, is of a kind; integers are counts here."""
    if get_origin(hint) is UnionType:
        return any(_is(value, part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is(item, get_args(hint)[0]) for item in value)
    if hint is int or (hint is float and type(value) is int):
        return type(value) is int and 0 <= value <= MAX_INTEGER
    return isinstance(value, get_origin(hint) or hint)
