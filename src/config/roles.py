"""Which config values make a run what it is: said once, on the fields themselves.

A field without a role decides the weights or the scores. `EVALUATION` marks how much is computed about a model, `PLACE`
where files lie and how fast the work goes, `SESSION` how a run is recorded and shown, `LAUNCH` how several are started.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

Role = Literal["evaluation", "place", "session", "launch"]
EVALUATION: Role = "evaluation"
PLACE: Role = "place"
SESSION: Role = "session"
LAUNCH: Role = "launch"


def with_role(role: Role, **options: Any) -> Any:
    """A dataclass field with a role; `options` are those of `dataclasses.field`."""
    return field(metadata={"role": role}, **options)


def role_of(key: str, schema: type) -> Role | None:
    """The role of the value that the dotted `key` names in `schema`, or of a section that it lies in.

    A key that is not in the schema (an older one, say) has none.
    """
    names = key.split(".")
    current: type | None = schema
    while names and current is not None:
        known = _fields(current)
        name = names.pop(0)
        if name not in known:
            return None
        role, current, keyed = known[name]
        if role is not None:
            return role
        if keyed and names:
            names.pop(0)  # the name of one of several sections
    return None


def without_roles(overrides: Sequence[str], schema: type, *roles: Role) -> list[str]:
    """Those of `overrides` (`key=value`) that are neither Hydra's own nor of a value with one of `roles`."""

    def stays(override: str) -> bool:
        key = override.lstrip("+~").partition("=")[0]
        return not re.match(r"hydra[./]|hydra$", key) and role_of(key.replace("/", "."), schema) not in roles

    return [override for override in overrides if stays(override)]


@cache
def _fields(schema: type) -> dict[str, tuple[Role | None, type | None, bool]]:
    """Of each field: its role, the dataclass that it holds, and whether it holds several of them by name."""
    hints = get_type_hints(schema, include_extras=False)
    return {each.name: (each.metadata.get("role"), *_section(hints[each.name])) for each in fields(schema)}


def _section(hint: Any) -> tuple[type | None, bool]:
    if get_origin(hint) is dict:
        return _section(get_args(hint)[1])[0], True
    if get_origin(hint) in (Union, UnionType, Annotated):
        return next((found for found in map(_section, get_args(hint)) if found[0] is not None), (None, False))
    return (hint, False) if isinstance(hint, type) and is_dataclass(hint) else (None, False)
