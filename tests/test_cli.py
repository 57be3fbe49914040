from __future__ import annotations

import functools
import os
import pickle
import random
import shlex
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from src.__main__ import main as happy_sad
from src.cli.hydra_command import _with_paths, hydra_command, value_comments
from src.config import CONF, PROJECT_ROOT, Config
from src.config.identity import Request

Answer = tuple[int, str, str]


HYDRA_COMMANDS = ["train", "tune", "compare", "evaluate", "export", "prepare", "register", "rerun", "audit"]


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str, command: str = "train"
) -> Answer:
    """Return exit code, stdout and stderr of `python -m src.COMMAND ARGUMENTS`, called in this process."""
    monkeypatch.setattr(sys, "argv", [f"src/{command}.py", *arguments])
    try:
        import_module(f"src.{command}").main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["tracking=server", "tracking.uri=http://me:hunter2@tracking.example"],
        ["-m", "seed=0,1", 'tracking.uri="mysql://host/mlflow?user=me&password=hunter2"'],
        ["tracking.uri=${oc.env:THE_STORE}", "print_config=true"],
        ["https://me:hunter2@host/faces.zip"],
    ],
)
def test_a_password_is_rejected_before_anything_repeats_or_records_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv("THE_STORE", "postgresql://me:hunter2@host/mlflow")
    code, out, err = call(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert "holds a password" in err
    assert "hunter2" not in err
    assert err.count("\n") == 1


def test_print_config_shows_the_run_without_running_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(monkeypatch, capsys, "model=deep", "print_config=true")
    assert code == 0
    assert OmegaConf.create(out).model.name == "deep"


@pytest.mark.parametrize("path", ["/data/My (Fotos)", "/data/a=b", "/data/ü 😀, c", "~/x", 'a\\"b)', "{x"])
def test_a_path_is_taken_as_it_is_or_the_message_shows_how_to_quote_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    given = path
    for _ in range(2):
        override = f"dataset.path={path}"
        code, out, err = call(monkeypatch, capsys, "dataset=photos", override, "print_config=true")
        if code == 0:
            break
        path = shlex.split(err.rpartition(": ")[2])[0].removeprefix("dataset.path=")
    assert code == 0
    assert OmegaConf.create(out).dataset.path == given


ODD = ["0", "1.0", "nan", "-1", "null", "true", "", "???", "[8,16]", "[1", "{a: 1}", "{a: {b: 2}}", "${seed}"]
ODD += ["${x}", "${oc.env:HOME}", "a b", "(", "'", '"', "deep", "[deep,none]", "1,2", "range(3)", "choice(a)", "@x"]
ODD += ["ü😀", "\n", "${", "\\", "interval(0,1)", "int(x)", "tag(a,1)", "extend_list(1)", "[[]]", "[null]", "{}"]
ODD += ["=", "-0.0", "1e999"]
ODD_KEYS = ["dataset.path", "experiment", "output", "hydra.run.dir", "hydra", "x.y", "hydra/launcher", "_target_"]


@functools.cache
def keys_and_values() -> dict[str, list[str]]:
    """Every key of the composed config with what it holds, and every group with its choices."""
    with initialize_config_dir(str(CONF), version_base=None):
        composed = compose("config", overrides=["aug=strong"])
    found: dict[str, list[str]] = {}
    nodes: list[tuple[str, object]] = [("", composed)]
    while nodes:
        path, node = nodes.pop()
        if isinstance(node, DictConfig):
            children = ((key, node._get_node(key)) for key in node)
            nodes += [(f"{path}.{key}".removeprefix("."), child) for key, child in children]
        if path:
            found[path] = [str(OmegaConf.to_container(node) if OmegaConf.is_config(node) else node).replace("'", "")]
    for file in CONF.glob("*/**/*.yaml"):
        found.setdefault(str(file.parent.relative_to(CONF)), []).append(file.stem)
    return found


def random_override(generator: random.Random) -> str:
    """A line that a hurried person, or a script gone wrong, might write: mostly real keys, their own values, values of
    other keys and odd ones.
    """
    known = keys_and_values()
    key = generator.choice(sorted(known))
    values = generator.choice([known[key], known[key], generator.choice(sorted(known.values())), ODD])
    if generator.random() < 0.15:
        key = ".".join([key, generator.choice([*ODD_KEYS, *sorted(known)])][generator.randrange(2) :])
    prefix = generator.choice([*[""] * 20, "+", "++", "~", "@", "-", "--", "model@"])
    equals = generator.choice([*["="] * 20, "", "==", ":=", "@foo="])
    return f"{prefix}{key}{equals}{generator.choice(values)}"


@pytest.mark.parametrize("seed", range(2))
def test_no_line_of_overrides_ends_in_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """`python -m benchmarks fuzz command_lines` tries ten thousand."""
    generator = random.Random(seed)  # noqa: S311
    for _ in range(15):
        arguments = [random_override(generator) for _ in range(generator.choice([1, 1, 2]))]
        code, _, err = call(monkeypatch, capsys, *arguments, "print_config=true")
        assert code in (0, 2), arguments
        assert "Traceback" not in err, arguments
        assert err.startswith("error: " if code else ""), arguments


def test_a_command_lists_its_own_groups(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(monkeypatch, capsys, "--help")
    groups = out[out.index("== Groups") : out.index("== Values")]
    assert "trainer: debug" in groups
    assert "tuner:" not in groups
    assert "space:" not in groups


def test_an_unknown_command_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["happy-sad", "pred", "photo.jpg"])
    with pytest.raises(SystemExit) as stop:
        happy_sad()
    assert (stop.value.code, capsys.readouterr().err) == (2, "error: 'pred': no such command; did you mean predict?\n")


def instant(config: Config, request: Request) -> int:
    """A training that takes no time."""
    print(f"seed {config.seed} of {list(request.overrides)}")
    return config.seed


def score(config: Config, result: int) -> float:
    return result / 2


def test_another_launcher_runs_the_jobs_and_says_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["-m", "hydra/launcher=basic", "seed=3,4", f"hydra.sweep.dir={tmp_path}"]
    arguments += ["+hydra.callbacks.info._target_=hydra.experimental.callbacks.PickleJobInfoCallback"]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments, "hydra.output_subdir=.hydra"])
    hydra_command(
        "train", "tests.test_cli:instant", schema=Config, config_name="config", objective="tests.test_cli:score"
    )()
    notice = "hydra/launcher=basic: records each job by itself; hydra/launcher=workers makes them one sweep\n"
    assert capsys.readouterr().out == f"{notice}seed 3 of ['seed=3']\nseed 4 of ['seed=4']\n"
    job = pickle.loads((tmp_path / "1" / ".hydra" / "job_return.pickle").read_bytes())  # noqa: S301
    assert job.return_value == 2.0


SLEEPER = """
import time
from src.cli.hydra_command import hydra_command
from src.config import CompareConfig
def sleep(config, request):
    print("asleep", flush=True)
    time.sleep(60)
if __name__ == "__main__":
    hydra_command("compare", "sleeper:sleep", schema=CompareConfig)()
"""


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_ended_says_so_with_its_exit_code(how: signal.Signals, code: int, tmp_path: Path) -> None:
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asleep\n"
        process.send_signal(how)
        assert process.wait(30) == code


def test_help_lists_groups_and_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(monkeypatch, capsys, "--help")
    assert code == 0
    assert "model: baseline, convnext_tiny, deep, efficientnet_lite0, efficientnet_v2_b0, mobile, mobilenet_v3" in out
    assert "aug: light, none, photos, randaugment, strong" in out
    assert "convolutions: 1" in out
    lines = out[out.index("== Values") :].split("\n")
    assert next(line for line in lines if "dropout: 0.0" in line).endswith(
        "# share of the dense layers' units dropped in training"
    )


@pytest.mark.parametrize("command", HYDRA_COMMANDS)
def test_help_describes_every_value_within_the_width_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Keys of a search's space are described below it; those above other keys describe themselves."""
    _, out, _ = call(monkeypatch, capsys, "--help", command=command)
    lines = out.partition("== Values ==\n")[2].split("\n\n\n")[0].split("\n")
    described = dict(_with_paths(lines))
    undescribed = [
        path for path, line in described.items() if ": " in line and " # " not in line and not path.startswith("space")
    ]
    assert not undescribed, f"no comment beside the value in conf/: {undescribed}"
    assert len(described) > 5
    assert not [line for line in lines if len(line) > 120 and "leak_check" not in line]


def test_help_describes_a_value_and_not_what_another_option_makes_of_it() -> None:
    assert value_comments("config")["dataset.split.method"] == "stratified, kfold, hashed, source or column"


def test_nothing_heavy_is_imported_before_a_run_starts() -> None:
    code = (
        "import sys\n"
        "from src.train import main\n"
        "for argument in ('--help', 'model=deeep', 'seed=-1', 'print_config=true'):\n"
        "    sys.argv = ['src/train.py', argument]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'sklearn', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
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
