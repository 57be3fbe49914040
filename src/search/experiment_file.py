"""A winner's overrides as an experiment: a YAML file by whose name `src.train` repeats the run."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from ..config import CONF, Config, typed
from ..config.base import LAUNCH, PLACE, SESSION, without_roles
from ..config.identity import command_line, config_digest
from ..errors import ConfigError
from .trials import Compose


def experiment_text(overrides: Sequence[str]) -> str:
    """The YAML of an experiment that makes the run of `overrides`, as far as YAML can: it has no `~key`.

    An experiment among the overrides becomes its base. Of a group given twice the last option counts, as on the command
    line. Where runs are recorded and cached is left to the person who runs it.
    """
    base: list[str] = []
    groups: dict[str, Any] = {}
    tree: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(without_roles(overrides, Config, PLACE, SESSION, LAUNCH)):
        key, value = override.key_or_group, override.value()
        if override.is_delete():
            continue
        if key == "experiment":
            base = [] if value is None else [f"/experiment/{value}"]
        elif (CONF / key).is_dir():
            groups[f"override /{key}"] = value
        else:
            _set(tree, key.split("."), value)
    defaults = [*base, *({group: option} for group, option in groups.items())]
    listed = {"defaults": [*defaults, "_self_"]} if defaults else {}
    return "# @package _global_\n" + yaml.safe_dump({**listed, **tree}, sort_keys=False)


def _set(tree: dict[str, Any], path: Sequence[Any], value: Any) -> None:
    """Put `value` at `path` into `tree`; a dictionary is merged into one that is there, as Hydra does."""
    for part in path[:-1]:
        if not isinstance(tree.get(part), dict):
            tree[part] = {}
        tree = tree[part]
    if isinstance(value, dict) and isinstance(tree.get(path[-1]), dict):
        for key, each in value.items():
            _set(tree[path[-1]], [key], each)
    else:
        tree[path[-1]] = value


def repeats(text: str, overrides: Sequence[str], compose: Compose) -> bool:
    """Whether the experiment `text` makes the run that `overrides` make."""
    with tempfile.TemporaryDirectory(prefix="happy-sad-experiment-") as folder:
        file = Path(folder) / "experiment" / f"{Path(folder).name}.yaml"
        file.parent.mkdir()
        file.write_text(text)
        try:
            made = compose([f"hydra.searchpath=['file://{folder}']", f"experiment={file.stem}"])
        except ConfigError:
            return False
    return config_digest(made) == config_digest(compose(overrides))


def write_experiment(
    folder: Path, name: str, overrides: Sequence[str], *, search: str, facts: Sequence[str] = ()
) -> Path:
    """Write `tuned_<name>.yaml` to `folder`, by which `src.train experiment=tuned_<name>` is the run of `overrides`.

    `facts` are lines for its head. A file of that name is replaced where the `search` with this digest wrote it, or
    where it is the same run; beside any other one it is `tuned_<name>_2.yaml`, and so on.
    """
    kept = without_roles(overrides, Config, PLACE, SESSION, LAUNCH)
    own = [f"# That is: {command_line('train', kept)}", f"# Search: {search}"]
    file = next(
        file
        for number in itertools.count(1)
        if not (file := folder / f"tuned_{name}{'' if number == 1 else f'_{number}'}.yaml").exists()
        or set(own) & set(file.read_text().splitlines())
    )
    package, _, body = experiment_text(overrides).partition("\n")
    head = [*(f"# {fact}" for fact in facts), f"# Reproduce: {typed('train')} experiment={file.stem}", *own]
    folder.mkdir(exist_ok=True)  # a checkout has it, the working directory of an installed package may not
    file.write_text("\n".join([package, *head, body]))
    return file
