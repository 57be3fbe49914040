"""What the tab key offers in bash: commands, then what Hydra or Typer knows of the command's own arguments."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..config import IN_CHECKOUT

SCRIPT = """_happy_sad() {{
    local word="${{COMP_LINE:0:$COMP_POINT}}"; word="${{word##* }}"
    {guard}
    local IFS=$'\\n'
    COMPREPLY=($(compgen -W "$(COMP_LINE="${{COMP_LINE:0:$COMP_POINT}}" {program} --complete 2>/dev/null)" -- "$word"))
}}
COMP_WORDBREAKS="${{COMP_WORDBREAKS//=}}"
complete -o nospace -o default -F _happy_sad {names}
"""
TYPER_COMMANDS = ("predict", "relocate", "send", "serve", "ui")
GUARD = r'[[ "$COMP_LINE" == *" -m src"[.\ ]* ]] || return'


def bash_script() -> str:
    """What `eval` makes bash complete `happy-sad` with; in a checkout `python -m src.train` and its like too."""
    if IN_CHECKOUT:
        return SCRIPT.format(guard=GUARD, program=f"{shlex.quote(sys.executable)} -m src", names="python python3")
    return SCRIPT.format(guard="", program="happy-sad", names="happy-sad")


def completions(commands: Sequence[str], main_of: Callable[[str], Any]) -> None:
    """Print, one a line, what may follow the COMP_LINE of bash: `happy-sad train mod` or `python -m src.train mod`.

    `main_of(command)` gives the module of a command.
    """
    words = os.environ.get("COMP_LINE", "").split(" ")
    words = words[words.index("-m") + 1 :] if "-m" in words[:2] else words
    first, dot, begun = words[0].partition(".") if IN_CHECKOUT else (words[0], "", "")
    words = [begun, *words[1:]] if dot else words[1:]
    if len(words) < 2:
        print("\n".join(f"{first}{dot}{command} " if dot else f"{command} " for command in commands))
        return
    command, *arguments = words
    if command not in commands:
        return
    module = main_of(command)
    if command in TYPER_COMMANDS:
        import typer

        app = typer.Typer(add_completion=False)
        app.command()(getattr(module, command))
        options = (option for each in typer.main.get_command(app).params for option in each.opts)
        print("\n".join(f"{option} " for option in options if option.startswith("--")))
        return
    os.environ["COMP_LINE"] = " ".join(["happy-sad", *arguments])
    sys.argv[1:] = ["-sc", "query=bash"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        module.main()
    print("\n".join(map(_continued, said.getvalue().split())))


def _continued(offered: str) -> str:
    """What Hydra offers, with a space where the word ends; a group that holds folders too comes without its sign."""
    if offered[-1] in "=./":
        return offered
    if "=" in offered or offered.startswith("~"):
        return f"{offered} "
    return f"{offered}/" if offered.lstrip("+") == "hydra" else f"{offered}="
