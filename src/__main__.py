"""The console command of an installed package: `happy-sad train model=deep` is `python -m src.train model=deep`."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "train": "train one classifier, or a sweep with -m",
    "tune": "search for better values with keras-tuner",
    "compare": "say which recorded runs differ, and by how much",
    "evaluate": "evaluate a recorded model again, on any data",
    "prepare": "prepare a data set and report on it",
    "audit": "find labels that are likely wrong",
    "predict": "classify pictures",
    "export": "write a recorded model as LiteRT, int8 and ONNX",
    "rerun": "repeat a recorded run and compare",
    "register": "move an alias of MLflow's registry to a model that is not worse",
    "serve": "serve a model with a web page and an API",
    "relocate": "mend a local store of runs whose folder was renamed or moved",
    "send": "send what runs could not send to their tracking server",
}


def main() -> None:
    """Run the command that the first argument names; the others are its own."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        sys.argv[:2] = [f"{sys.argv[0]} {name}"]
        importlib.import_module(f".{name}", __package__).main()
        return
    if name in ("--completion", "--complete"):
        from .cli.completion import bash_script, completions

        if name == "--completion":
            print(bash_script(), end="")
        else:
            completions(list(COMMANDS), lambda command: importlib.import_module(f".{command}", __package__))
        return
    print("usage: happy-sad COMMAND ...\n")
    for command, purpose in COMMANDS.items():
        print(f"  {command:10}{purpose}")
    print("\nhappy-sad COMMAND --help says more; --completion prints what makes bash complete commands and values.")
    if name not in ("--help", "-h"):
        sys.exit(f"error: {name}: no such command")


if __name__ == "__main__":
    main()
