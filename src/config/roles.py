"""Which config values make a run what it is: said once, on the fields themselves.

A field without a role decides the weights or the scores. `EVALUATION` marks how much is computed about a model, `PLACE`
where files lie and how fast the work goes, `SESSION` how a run is recorded and shown, `LAUNCH` how several are started.
A field that came later is `added`: at its default it stands for what runs did before it was there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

Role = Literal["evaluation", "place", "session", "launch"]
EVALUATION: Role = "evaluation"
PLACE: Role = "place"
SESSION: Role = "session"
LAUNCH: Role = "launch"


def with_role(role: Role, **options: Any) -> Any:
    """A dataclass field with a role; `options` are those of `dataclasses.field`."""
    return field(metadata={"role": role}, **options)


def added(**options: Any) -> Any:
    """A dataclass field that configs of earlier runs lack; `options` are those of `dataclasses.field`.

    Its default must keep what runs did before: at that value it is no part of what identifies a run.
    """
    return field(metadata={"added": True}, **options)


def role_of(key: str, schema: type) -> Role | None:
    """The role of the value that the dotted `key` names in `schema`, or of a section that it lies in.

    A key that is not in the schema (an older one, say) has none.
    """
    return next((known.role for known in _path(key, schema) if known.role is not None), None)


def is_added_default(key: str, text: str, schema: type) -> bool:
    """Whether the dotted `key` names a field that was `added` later and `text` stands for its default."""
    *_, last = [None, *_path(key, schema)]
    return last is not None and last.added and last.section is None and as_text(last.default) == text


def described(config: object) -> str:
    """The `repr` of a config value, without fields that were added later and stand at their defaults."""
    if not is_dataclass(config):
        return repr(config)
    known = _fields(type(config))  # type: ignore[arg-type]
    values = {name: getattr(config, name) for name in known}
    kept = [name for name, value in values.items() if not (known[name].added and known[name].default == value)]
    return f"{type(config).__qualname__}({', '.join(f'{name}={described(values[name])}' for name in kept)})"


def as_text(value: object) -> str:
    """A config value as a parameter: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def added_defaults(schema: type, prefix: str = "") -> dict[str, Any]:
    """The dotted keys of all fields that were `added` later, with their defaults; those of named sections excepted."""
    found: dict[str, Any] = {}
    for name, known in _fields(schema).items():
        if known.section is not None and not known.keyed:
            found |= added_defaults(known.section, f"{prefix}{name}.")
        elif known.added:
            found[prefix + name] = known.default
    return found


def without_roles(overrides: Sequence[str], schema: type, *roles: Role) -> list[str]:
    """Those of `overrides` (`key=value`) that are neither Hydra's own nor of a value with one of `roles`."""

    def stays(override: str) -> bool:
        key = override.lstrip("+~").partition("=")[0]
        return not re.match(r"hydra[./]|hydra$", key) and role_of(key.replace("/", "."), schema) not in roles

    return [override for override in overrides if stays(override)]


class _Known(NamedTuple):
    """Of a field: its role, whether it was added later, its default, the dataclass that it holds, and whether it holds
    several of them by name.
    """

    role: Role | None
    added: bool
    default: Any
    section: type | None
    keyed: bool


def _path(key: str, schema: type) -> Iterator[_Known]:
    """The fields on the way to the dotted `key`, as far as they are known."""
    names = key.split(".")
    current: type | None = schema
    while names and current is not None:
        known = _fields(current).get(names.pop(0))
        if known is None:
            return
        yield known
        current = known.section
        if known.keyed and names:
            names.pop(0)  # the name of one of several sections


@cache
def _fields(schema: type) -> dict[str, _Known]:
    hints = get_type_hints(schema, include_extras=False)
    return {
        each.name: _Known(
            each.metadata.get("role"),
            each.metadata.get("added", False),
            each.default if each.default_factory is MISSING else each.default_factory(),
            *_section(hints[each.name]),
        )
        for each in fields(schema)
    }


def _section(hint: Any) -> tuple[type | None, bool]:
    if get_origin(hint) is dict:
        return _section(get_args(hint)[1])[0], True
    if get_origin(hint) in (Union, UnionType, Annotated):
        return next((found for found in map(_section, get_args(hint)) if found[0] is not None), (None, False))
    return (hint, False) if isinstance(hint, type) and is_dataclass(hint) else (None, False)
