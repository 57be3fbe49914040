"""The documents do not lie: links lead somewhere, commands compose."""

from __future__ import annotations

import functools
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from markdown_it import MarkdownIt

from src import predict, relocate, serve, sync, ui
from src.cli.composition import plain_tree
from src.compare import as_override
from src.config import (
    CONF,
    PROJECT_ROOT,
    AuditConfig,
    CompareConfig,
    Config,
    EvaluateConfig,
    ExportConfig,
    PrepareConfig,
    RegisterConfig,
    RerunConfig,
    TuneConfig,
    to_config,
)

CONTRIBUTING = PROJECT_ROOT / "CONTRIBUTING.md"
DOCUMENTS = [PROJECT_ROOT / "README.md", CONTRIBUTING, *sorted((PROJECT_ROOT / "docs").glob("*.md"))]
DOCUMENTS += [PROJECT_ROOT / "experiments" / "tutorial_leak" / "README.md", PROJECT_ROOT / "benchmarks" / "RESULTS.md"]
DOCUMENTS += [PROJECT_ROOT / name for name in ("RELIABILITY.md", "SECURITY.md")]
NAMES = [str(document.relative_to(PROJECT_ROOT)) for document in DOCUMENTS]
HEADS = sorted(path for folder in ("conf", "experiments") for path in (PROJECT_ROOT / folder).rglob("*.yaml"))

SCHEMAS = {
    "train": ("config", Config),
    "tune": ("tune", TuneConfig),
    "compare": ("compare", CompareConfig),
    "evaluate": ("evaluate", EvaluateConfig),
    "prepare": ("prepare", PrepareConfig),
    "audit": ("audit", AuditConfig),
    "export": ("export", ExportConfig),
    "register": ("register", RegisterConfig),
    "rerun": ("rerun", RerunConfig),
}
OPTIONS = {"predict": predict.predict, "serve": serve.serve, "sync": sync.sync, "relocate": relocate.relocate}
OPTIONS |= {"ui": ui.ui}
REJECTED = "aug=storng"  # shown with the line that it gives


def commands_in(text: str) -> list[str]:
    """Every `python -m ...` and `make ...` of a text, lines that end in a backslash joined."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    found = (
        re.match(r"[\s#|`$]*((?:[A-Z_]+=\S+ )*(?:python -m (?:src|docs|benchmarks|experiments)|make )[^`]*)", line)
        for line in lines
    )
    return [re.split(r"\s{2,}|\s+#|\s+\|", match.group(1).strip())[0] for match in found if match]


def commands_of(document: Path) -> list[str]:
    """The commands in the code blocks and code spans of a Markdown document, each once."""
    found: list[str] = []
    for token in MarkdownIt("commonmark").enable("table").parse(document.read_text()):
        if token.type in ("code_block", "fence"):
            found += commands_in(token.content)
        for span in token.children or []:
            found += commands_in(span.content) if span.type == "code_inline" else []
    return list(dict.fromkeys(found))


@functools.cache
def check(command: str) -> None:
    """Fail where the command cannot start: no such target, module, option, key or value. It is not run."""
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    if words[0] == "make":
        target = re.search(rf"^{words[1]}:", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE)
        assert target, f"{command}: no such target"
        return
    module, arguments = words[2], words[3:]
    assert importlib.util.find_spec(module), f"{command}: no such module"
    package, _, name = module.partition(".")
    if package == "src" and "--help" not in arguments and "..." not in arguments and REJECTED not in arguments:
        assert name in SCHEMAS or name in OPTIONS, f"{command}: no such command"
        if name in OPTIONS:
            app = typer.Typer()
            app.command()(OPTIONS[name])
            typer.main.get_command(app).make_context(name, arguments)
        else:
            check_overrides(name, [argument for argument in arguments if argument != "-m"])


def check_overrides(name: str, arguments: list[str]) -> None:
    """Compose the config of a command and check it; of a sweep, so many jobs that the first values are all used."""
    config_name, schema = SCHEMAS[name]
    given = [as_override(argument) for argument in arguments] if name == "compare" else arguments
    choices = [
        [f"{text.partition('=')[0]}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [text]
        for text, override in zip(given, OverridesParser.create().parse_overrides(given), strict=True)
    ]
    for number in range(min(3, max(map(len, choices), default=1))):
        tree: Any = compose(config_name, [values[min(number, len(values) - 1)] for values in choices])
        to_config(plain_tree(tree), schema)


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base=None):
        yield


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_command_of_a_document_can_start(document: Path) -> None:
    for command in commands_of(document):
        try:
            check(command)
        except Exception as error:
            raise AssertionError(f"{document.name}: {command}: {error}") from error


def test_every_command_in_the_head_of_a_config_can_start() -> None:
    for path in HEADS:
        # A long command goes on in the next lines, deeper than it began.
        head = re.sub(r"\n# {4,}", " ", "\n".join(re.findall(r"^#.*", path.read_text(), re.MULTILINE)))
        for command in commands_in(head):
            try:
                check(re.split(r"\s+\(|\.\.\.", command)[0])
            except Exception as error:
                raise AssertionError(f"{path.relative_to(PROJECT_ROOT)}: {command}: {error}") from error


def test_the_commands_are_found() -> None:
    readme = commands_of(PROJECT_ROOT / "README.md")
    assert {"make train", "make test", "python -m src.train model=deep aug=strong"} <= set(readme)
    assert len(readme) > 20


@pytest.mark.parametrize(
    "command",
    [
        "make trian",
        "python -m src.trane",
        "python -m src.train modle=deep",
        "python -m src.train -m seed=0,1 model=baseline,deeper",
        "python -m src.predict photo.jpg --recursiv",
    ],
)
def test_a_dead_command_is_noticed(command: str) -> None:
    with pytest.raises(BaseException, match=r".+"):
        check(command)


def links_of(document: Path) -> list[str]:
    tokens = MarkdownIt("commonmark").enable("table").parse(document.read_text())
    spans = [span for token in tokens for span in token.children or []]
    return [str(span.attrGet("href") or span.attrGet("src")) for span in spans if span.type in ("link_open", "image")]


def anchors_of(document: Path) -> set[str]:
    """The names that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_link_and_every_named_file_is_there(document: Path) -> None:
    for link in links_of(document):
        place, _, anchor = link.partition("#")
        if not place.startswith(("https://", "http://")):
            target = document.parent / place if place else document
            assert target.exists(), f"{document.name}: {link}"
            assert not anchor or anchor in anchors_of(target), f"{document.name}: no heading {link}"
    folders = "src|conf|docs|tests|benchmarks|experiments|requirements|hydra_plugins"
    for path in re.findall(rf"`((?:{folders})/[a-z0-9_./*]+)`", document.read_text()):
        assert list(PROJECT_ROOT.glob(path)), f"{document.name}: no file {path}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [PROJECT_ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links_of(page) if "://" not in link}
        waiting += [target for target in targets if target.suffix == ".md" and target not in reached]
    assert set(DOCUMENTS) <= reached
