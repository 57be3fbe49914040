"""Parts of config dataclasses: bounded types, roles of values, and the rule that no value holds a password.

A field without a role decides the weights or the scores. `EVALUATION` marks how much is computed about a model,
`ENVIRONMENT` where files lie and how fast the work goes, `SESSION` how a run is recorded and shown, `LAUNCH` how
several are started.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Lt

from ..errors import ConfigError

Count = Annotated[int, Ge(1)]
WholeNumber = Annotated[int, Ge(0)]
PositiveNumber = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Rate = Annotated[float, Ge(0), Lt(1)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]


class Strict:
    """Base of every config dataclass: unknown keys are errors, and a number is text where text is wanted."""

    __pydantic_config__: ClassVar[dict[str, object]] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "coerce_numbers_to_str": True,
    }


Role = Literal["evaluation", "environment", "session", "launch"]
EVALUATION: Role = "evaluation"
ENVIRONMENT: Role = "environment"
SESSION: Role = "session"
LAUNCH: Role = "launch"


def with_role(role: Role, **options: Any) -> Any:
    """A dataclass field with a role; `options` are those of `dataclasses.field`."""
    return field(metadata={"role": role}, **options)


def role_of(key: str, schema: type) -> Role | None:
    """The role of the value that the dotted `key` names in `schema`, or of a section that it lies in.

    A key that is not in the schema has none.
    """
    return next((known.role for known in _path(key, schema) if known.role is not None), None)


def as_text(value: object) -> str:
    """A config value as a parameter: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def without_roles(overrides: Sequence[str], schema: type, *roles: Role) -> list[str]:
    """Return the `overrides` (`key=value`) that are neither Hydra's own nor of a value with one of `roles`."""

    def stays(override: str) -> bool:
        key = override.lstrip("+~").partition("=")[0]
        return not re.match(r"hydra[./]|hydra$", key) and role_of(key.replace("/", "."), schema) not in roles

    return [override for override in overrides if stays(override)]


class _Known(NamedTuple):
    """Role of a field, the dataclass that it holds, and whether it holds several of them by name."""

    role: Role | None
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
    return {each.name: _Known(each.metadata.get("role"), *_section(hints[each.name])) for each in fields(schema)}


def _section(hint: Any) -> tuple[type | None, bool]:
    if get_origin(hint) is dict:
        return _section(get_args(hint)[1])[0], True
    if get_origin(hint) in (Union, UnionType, Annotated):
        return next((found for found in map(_section, get_args(hint)) if found[0] is not None), (None, False))
    return (hint, False) if isinstance(hint, type) and is_dataclass(hint) else (None, False)


_PASSWORD = re.compile(r"://[^/?#@\s]*:[^/?#@\s]+@|://\S*[?&;](password|passwd|pwd|token|sslpassword)=", re.IGNORECASE)


def reject_password(name: str, text: str | None) -> None:
    """Raise ConfigError, which does not repeat it, for a `text` with the address of something and a password for it.

    `name` is the key or option whose value the text is.
    """
    if text and _PASSWORD.search(text):
        raise ConfigError(
            f"{name}: holds a password, which would be recorded with runs; leave it out of the address and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a tracking server, PGPASSWORD (or ~/.pgpass) "
            "for PostgreSQL, or a line of ~/.netrc for a download"
        )
