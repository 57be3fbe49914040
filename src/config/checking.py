"""From a composed tree of plain values to a checked config, or to one line that says what does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Len

from ..errors import ConfigError

ConfigType = TypeVar("ConfigType")
MAX_YAML_ALIASES = 10


def plain(config: object) -> dict[str, Any]:
    """A config as nested dictionaries and lists, ready for YAML or JSON."""
    return asdict(config)  # type: ignore[call-overload,no-any-return]


def read_yaml(file: Path) -> Any:
    """Read a YAML file that may be a stranger's. Raises ValueError for one that names a part of itself more than ten
    times: nested aliases make gigabytes of a few hundred bytes. Raises OSError and yaml.YAMLError.
    """
    import yaml

    text = file.read_text(encoding="utf-8")
    if sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)) > MAX_YAML_ALIASES:
        raise ValueError(f"{file.name} has more than {MAX_YAML_ALIASES} aliases")
    return yaml.safe_load(text)


def to_config(tree: Mapping[str, Any], schema: type[ConfigType]) -> ConfigType:
    """Check a composed tree of plain values against `schema`.

    Raises ConfigError with one line for the first thing that does not fit.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(schema).validate_python(dict(tree))
    except ValidationError as error:
        raise ConfigError(_explain(error.errors()[0], schema)) from None


def _explain(problem: Mapping[str, Any], schema: type) -> str:
    location = [part for part in problem["loc"] if isinstance(part, int) or part.isidentifier()]
    key = ".".join(str(part) for part in location)
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return unknown_key(key, _known_keys(schema, location[:-1]), dotted_keys(schema))
    if problem["type"] in ("missing", "missing_argument"):
        return f"{key}: no value given"
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    got, annotation = problem["input"], _type_at(schema, location)
    choices = [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []
    shown = "null" if got is None else got
    return f"{key}={shown}: accepts {accepts(annotation)}{suggest(str(got), choices)}"


_SYNONYMS = {
    **dict.fromkeys(("lr", "rate"), "learning_rate"),
    **dict.fromkeys(("batch", "bs"), "batch_size"),
    **dict.fromkeys(("size", "img_size", "imgsz", "resolution"), "image_size"),
    **dict.fromkeys(("patience", "early_stop"), "early_stopping"),
    **dict.fromkeys(("wd", "decay"), "weight_decay"),
    **dict.fromkeys(("arch", "network", "backbone"), "architecture"),
    **dict.fromkeys(("data", "data_dir", "folder"), "path"),
    **dict.fromkeys(("num_workers", "jobs"), "n_jobs"),
    "amp": "precision",
}
"""What other programs call values, and their names here."""


def unknown_key(key: str, known: Iterable[str], everywhere: Iterable[str] = ()) -> str:
    """One line for a key that does not exist, with what may be meant: one of `everywhere`, the dotted keys of the whole
    config, that ends so, else a close match among `known` keys of the same level.
    """
    known = list(known)
    parent, _, last = key.rpartition(".")
    prefix = f"{parent}." if parent else ""
    meant = meant_keys(last, everywhere)
    hint = f"; did you mean {' or '.join(meant)}?" if meant else suggest(last, known, prefix)
    there = f"known here: {', '.join(prefix + name for name in known)}" if known else f"{parent} has no keys"
    return f"{key}: no such key{hint or '; ' + there}"


def meant_keys(name: str, everywhere: Iterable[str]) -> list[str]:
    """Up to two dotted keys that end in `name` or in what other programs call it; the shortest first."""
    wanted = (name, _SYNONYMS.get(name, name))
    found = [key for key in everywhere if key.rpartition(".")[2] in wanted]
    return sorted(found, key=lambda key: (key.count("."), key))[:2]


def dotted_keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Yield the keys of all values of a config, but for those in sections that users name."""
    hints = get_type_hints(schema)
    for item in fields(schema):
        if is_dataclass(hints[item.name]):
            yield from dotted_keys(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name


def suggest(got: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean ...?` for the close matches of `got`, or an empty string."""
    close = difflib.get_close_matches(got, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(prefix + name for name in close)}?" if close else ""


def _type_at(schema: Any, location: Iterable[Any]) -> Any:
    """The annotation found by walking `location` down a tree of dataclasses, dictionaries and lists."""
    for part in location:
        if is_dataclass(schema):
            schema = get_type_hints(schema, include_extras=True).get(str(part))
        elif isinstance(part, int) or get_origin(_bare(schema)) is dict:
            item_types = get_args(_bare(schema))  # of a list its item's, of a dictionary its values' last
            schema = item_types[-1] if item_types else Any
    return schema


def _known_keys(schema: type, location: Iterable[Any]) -> list[str]:
    node = _type_at(schema, location)
    return [item.name for item in fields(node)] if is_dataclass(node) else []


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


_TYPE_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def accepts(annotation: Any) -> str:
    """Describe what an annotation accepts: `an integer, at least 8 and at most 1024`."""
    if get_origin(annotation) is Literal:
        return ", ".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(accepts(choice) for choice in get_args(annotation))
    if get_origin(annotation) is list:
        return f"a list; each item {accepts(get_args(annotation)[0])}"
    if get_origin(annotation) is not Annotated:
        return _TYPE_NAMES.get(annotation, "a group of values")
    base, *constraints = get_args(annotation)
    if any(isinstance(constraint, Len) for constraint in constraints):
        length = next(constraint for constraint in constraints if isinstance(constraint, Len))
        return f"a list of {length.min_length} to {length.max_length} items; each {accepts(get_args(base)[0])}"
    limits = [
        f"{words} {getattr(constraint, bound)}"
        for constraint in constraints
        for bound, words in _BOUNDS.items()
        if getattr(constraint, bound, None) is not None
    ]
    return f"{accepts(base)}, {' and '.join(limits)}" if limits else accepts(base)
