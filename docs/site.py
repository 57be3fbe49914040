"""Build the documentation as a site in `build/site`, links checked: `python -m docs.site [build|serve]`.

The pages are the Markdown files of the checkout where they lie, so that their links hold in both places, the notebook,
and two references: of all config values, from the dataclasses and the comments in `conf/`, and of the Python functions.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from mkdocs.__main__ import cli

from src.cli.hydra_command import value_comments
from src.config import CONF, PROJECT_ROOT, Config
from src.config.checking import accepts

PAGES = PROJECT_ROOT / "build" / "pages"
KINDS = (":!src/reports", "*.md", "*.ipynb", "docs/*.png", "docs/*.jpg", "docs/*.css", "LICENSE")
# A link to a file that is no page names it as code instead.
LINK_TO_CODE = re.compile(r"\[([^\]]+)\]\((?!https?://)[^)#]+(?:\.(?:py|yaml|toml|js|sh)|LICENSE|/)\)")
PYTHON = """# Python

The same commands as functions. Installed, the package is `happy_sad`.

::: src.api
"""


def gather() -> None:
    """Copy the pages and their images to `build/pages`, and write the references there."""
    shutil.rmtree(PAGES, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", *KINDS], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        target = PAGES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".md"):
            target.write_text(LINK_TO_CODE.sub(r"\1", (PROJECT_ROOT / name).read_text()))
        else:
            shutil.copyfile(PROJECT_ROOT / name, target)
    (PAGES / "reference").mkdir()
    (PAGES / "reference" / "config.md").write_text("\n".join(config_reference()))
    (PAGES / "reference" / "python.md").write_text(PYTHON)


def config_reference() -> Iterator[str]:
    """Yield the lines of a page with all values of `python -m src.train`, a table for each group."""
    yield "# Config values\n"
    yield "Every value of `python -m src.train`, set by `key=value`. Its `--help` prints the defaults.\n"
    comments = value_comments("config")
    values = list(_values(Config, ""))
    for group in dict.fromkeys(map(_group, (key for key, _ in values))):
        options = sorted(file.stem for file in (CONF / group).glob("*.yaml"))
        yield f"\n## {group}\n"
        if options:
            yield f"Options, as `{group}=NAME`: {', '.join(f'`{option}`' for option in options)}.\n"
        yield "| key | accepts | meaning |\n|---|---|---|"
        for key, annotation in values:
            if _group(key) == group:
                cells = (f"`{key}`", accepts(annotation), comments.get(key, ""))
                yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _group(key: str) -> str:
    return key.partition(".")[0] if "." in key else "The run"


def _values(schema: type, prefix: str) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(schema, include_extras=True)
    for item in fields(schema):
        if is_dataclass(hints[item.name]):
            yield from _values(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, hints[item.name]


def main() -> None:
    """Run as a command."""
    gather()
    command, *options = sys.argv[1:] or ["build"]
    cli([command, "-f", str(PROJECT_ROOT / "docs" / "mkdocs.yml"), *options])


if __name__ == "__main__":
    main()
