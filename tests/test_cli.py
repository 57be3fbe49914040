from __future__ import annotations

import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from src.config import PROJECT_ROOT
from src.train import main

Answer = tuple[int, str, str]


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Answer:
    """The exit code, stdout and stderr of `python -m src.train ARGUMENTS`, called in this process."""
    monkeypatch.setattr(sys, "argv", ["src/train.py", *arguments])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("model=deeep", "model=deeep: accepts baseline, deep, mobile, residual; did you mean deep?"),
        ("modle=deep", "modle: no such key; did you mean model?"),
        ("optimizer.learning_rate=abc", "optimizer.learning_rate=abc: accepts a number, above 0 and at most 10"),
        ("dataset.image_size=0", "dataset.image_size=0: accepts an integer, at least 8 and at most 1024"),
        ("optimizer.momentun=0", "optimizer.momentun: no such key; did you mean optimizer.momentum?"),
        ("+colour=red", "colour: no such key"),
        ("optimizer.learning_rate", "optimizer.learning_rate: not understood; write key=value"),
        ("+experiment=nothing_like_it", "experiment=nothing_like_it: accepts"),
        ("seed=${nowhere}", "seed"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argument: str, line: str
) -> None:
    code, out, err = call(monkeypatch, capsys, argument)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert line in err
    assert err.count("\n") == 1


def test_a_mistake_in_a_sweep_stops_it_before_the_first_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(monkeypatch, capsys, "-m", "seed=0,1", "optimizer.learning_rate=abc")
    assert (code, out) == (2, "")
    assert err.startswith("error: optimizer.learning_rate=abc")


def test_print_config_shows_the_run_without_running_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(monkeypatch, capsys, "model=deep", "print_config=true")
    assert code == 0
    assert OmegaConf.create(out).model.name == "deep"


def test_help_lists_groups_and_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(monkeypatch, capsys, "--help")
    assert code == 0
    assert "model: baseline, deep, mobile, residual" in out
    assert "aug: light, none, strong" in out


@pytest.mark.parametrize("arguments", [["--help"], ["model=deeep"], ["seed=-1"], ["print_config=true"]])
def test_nothing_heavy_is_imported_before_a_run_starts(arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['src/train.py', *sys.argv[1:]]\n"
        "from src.train import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'sklearn', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_help_into_a_pipe_that_closes_leaves_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "src.register", "--help"],
        cwd=PROJECT_ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")
