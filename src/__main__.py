"""The console command of an installed package: `happy-sad train model=deep` is `python -m src.train model=deep`."""

from __future__ import annotations

import difflib
import importlib
import sys

COMMANDS = {
    "train": "train one classifier, or a sweep with -m",
    "tune": "search for better values with keras-tuner",
    "compare": "compare recorded runs: which differ, and by how much",
    "evaluate": "evaluate a recorded model on any data",
    "prepare": "prepare a data set and report on it",
    "audit": "find labels that are likely wrong",
    "predict": "classify images",
    "ui": "open MLflow's UI on the recorded runs",
    "export": "export a recorded model to LiteRT, int8 and ONNX",
    "rerun": "repeat a recorded run and compare the results",
    "register": "register a model in MLflow, unless it is worse",
    "serve": "serve a model with a web page and an API",
    "relocate": "repair a local store of runs after its folder was moved",
    "sync": "deliver what runs could not send to their tracking server",
}


def main() -> None:
    """Run the command that the first argument names; the others are its own."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        sys.argv[:2] = [f"{sys.argv[0]} {name}"]
        importlib.import_module(f".{name}", __package__).main()
        return
    if name not in ("--help", "-h"):
        from .system import stop

        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(COMMANDS)}"
        stop(f"{name!r}: no such command{hint}", 2)
    print("usage: happy-sad COMMAND ...\n")
    for command, purpose in COMMANDS.items():
        print(f"  {command:10}{purpose}")
    print("\nhappy-sad COMMAND --help describes a command.")


if __name__ == "__main__":
    main()
