"""A word about each value in `--help`: the comments beside the values in `conf/`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..config import CONF

VALUES = "== Values =="
LINE = re.compile(r"(?P<indent> *)(?P<key>\w+):(?P<rest>.*)")
COMMENT = re.compile(r"(?:^|\s)# (?P<words>.+)$")


def with_comments(help_text: str, config_name: str) -> str:
    """The help with the comment of each value behind it."""
    before, heading, shown = help_text.partition(VALUES)
    if not heading:
        return help_text
    comments = value_comments(config_name)
    lines = [
        f"{line:<44} # {comments[path]}" if path in comments and "#" not in line else line
        for path, line in _with_paths(shown.split("\n"))
    ]
    return before + heading + "\n".join(lines)


def value_comments(config_name: str) -> dict[str, str]:
    """Dotted key -> comment, of the groups and of `conf/<config_name>.yaml`.

    An option that begins from no other says what a value is; another one's comment may be about its own value.
    """
    options = [file for file in CONF.glob("*/*.yaml") if file.parent.name != "experiment"]
    options.sort(key=lambda file: ("defaults:" in file.read_text(), file))
    files = [(f"{file.parent.name}.", file) for file in options]
    files += [("cluster.", CONF / "cluster.yaml"), ("", CONF / f"{config_name}.yaml")]
    found: dict[str, str] = {}
    for prefix, file in files:
        for path, line in _with_paths(file.read_text().split("\n")):
            if path and (comment := COMMENT.search(line)):
                found.setdefault(prefix + path, comment["words"])
    return found


def _with_paths(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each line of a YAML text with the dotted key that it holds; empty where it holds none."""
    parents: list[tuple[int, str]] = []
    for line in lines:
        match = LINE.fullmatch(line)
        if match is None:
            yield "", line
            continue
        indent = len(match["indent"])
        parents = [*(parent for parent in parents if parent[0] < indent), (indent, match["key"])]
        yield ".".join(name for _, name in parents), line
