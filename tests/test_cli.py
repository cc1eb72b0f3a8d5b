"""Options, configuration files and the one line that a mistake gets."""

import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import MISSING, asdict, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import pytest
import yaml

from st_reid import calibrate, check, cli, evaluate, extract, search, train
from st_reid.__main__ import commands
from st_reid.config import DATASET_DEFAULTS, TrainConfig, write_config
from st_reid.errors import UserError

PACKAGE = Path(cli.__file__).parent


def config_of(command):
    """Return the dataclass that a command parses into, and values for what it cannot do without."""
    with patch.object(cli, "parse", side_effect=InterruptedError) as parse, pytest.raises(InterruptedError):
        import_module(f"st_reid.{command}").main([])
    config_class, _, name = parse.call_args.args
    assert name == f"python -m st_reid.{command}"
    required = [f for f in fields(config_class) if f.default is MISSING and f.default_factory is MISSING]
    return config_class, {f.name: "[x]" if f.type.startswith("list[") else "x" for f in required}


WITH_SETTINGS = [command for command in commands() if command != "run"]  # whose options are a script's own


def numbers():
    """Yield every numeric setting: its command, name, type, and whether it is in a list."""
    seen = set()
    for command in WITH_SETTINGS:
        for name, kind in cli._settings(config_of(command)[0]):
            items = [item for alternative in (kind, *get_args(kind)) for item in (alternative, *get_args(alternative))]
            if any(isinstance(item, type) and issubclass(item, int | float) and item is not bool for item in items):
                if "dict" not in str(kind) and (name, kind) not in seen:
                    yield pytest.param(command, name, id=f"{command}-{name}")
                seen.add((name, kind))


def bare(value):
    """Whether all numbers are Python's own, in whatever they lie."""
    if is_dataclass(value):
        return all(bare(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, list | dict):
        return all(map(bare, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int | float) or type(value) in (bool, int, float)


def test_defaults_depend_on_the_dataset():
    walkers, mars = train.parse([]), train.parse(["--sources", "mars"])
    assert (walkers.height, walkers.model.pretrained) == (64, False)
    assert (mars.height, mars.width, mars.seq_len, mars.epochs) == (256, 128, 8, 500)
    assert mars.model.pretrained is True
    assert mars.optim.milestones == [70, 140, 210, 310, 410]


def test_command_line_over_file_over_dataset(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("sources: walkers\nepochs: 7\noptim:\n  lr: 2e-3\n")
    config = train.parse(["--optim.lr", "5e-4", "--config", str(file), "--seq-len", "4"])
    assert (config.epochs, config.optim.lr, config.seq_len, config.height) == (7, 5e-4, 4, 64)
    file.write_text("sources: mars\n")
    assert train.parse(["--config", str(file)]).height == 256


def test_the_written_configuration_reads_back(tmp_path):
    config = train.parse(["--model.options", "{zero_init_residual: true, dim: 64}", "--data.batches", "3"])
    write_config(config, tmp_path)
    assert train.parse(["--config", str(tmp_path / "config.yaml")]) == config


def test_flags_need_no_value():
    assert train.parse(["--baselines", "--epochs", "3"]).baselines is True
    assert train.parse(["--baselines", "false"]).baselines is False


def test_the_last_part_of_a_name_will_do_where_it_is_unique():
    config = train.parse(["--lr", "5e-4", "--junk=same_tracklet", "--k1", "7"])
    assert (config.optim.lr, config.eval.junk, config.eval.rerank.k1) == (5e-4, "same_tracklet", 7)
    assert train.parse(["--joint.use", "never", "--workers", "0"]).eval.joint.use == "never"


@pytest.mark.parametrize(
    ("option", "meanings"),
    [
        ("--sampler", "--data.sampler or --eval.sampler"),
        ("--options={}", "--data.options or --model.options"),
        ("--use", "--eval.joint.use or --eval.rerank.use"),
    ],
)
def test_an_ambiguous_end_of_a_name(option, meanings):
    with pytest.raises(UserError, match=f"{option.partition('=')[0]} may mean {meanings}; write it in full"):
        train.parse([option, "true"])


def test_a_name_in_full_is_not_ambiguous():
    config = cli.parse(evaluate.EvaluateConfig, ["--options", "{dim: 64}", "--data.options={a: 1}"], evaluate.NAME)
    assert (config.options, config.data.options) == ({"dim": 64}, {"a": 1})


def test_lists():
    more = ["--weights", "x", "--output", "x"]
    argv = ["--video", "a.avi", "b: c.avi", "--camera", "1", "0012", "null", "\N{CAT}", "--start-time", "1", "2.5"]
    config = cli.parse(extract.ExtractConfig, [*argv, *more], extract.NAME)
    assert (config.video, config.camera) == (["a.avi", "b: c.avi"], ["1", "0012", "null", "\N{CAT}"])
    assert (config.tracks, config.start_time) == ([], [1.0, 2.5])
    config = cli.parse(extract.ExtractConfig, ["--video=[a, b]", "--start-time=[3]", *more], extract.NAME)
    assert (config.video, config.camera, config.start_time) == (["a", "b"], None, [3.0])
    assert train.parse(["--milestones", "5", "7.5"]).optim.milestones == [5, 7.5]
    found = cli.parse(search.SearchConfig, ["--query", "0012", "--features=x", "--output=x"], search.NAME)
    assert found.query == ["0012"]


def test_only_what_was_given_counts_as_given(tmp_path):
    (tmp_path / "c.yaml").write_text("data: {crop: 0.25}")
    config = train.parse(["--config", str(tmp_path / "c.yaml"), "--epochs", "500"])
    assert config.given == {"epochs", "model", "data", "optim", "eval", "compute", "checkpoint"}
    assert (config.data.given, config.optim.given) == ({"crop"}, set())
    assert (config.epochs, config.data.crop, config.data.persons) == (500, 0.25, 16)  # the last one of walkers


def test_numbers_are_plain():
    config = train.parse(["--epochs", "3", "--patience", "2", "--clip-norm", "1", "--milestones", "2", "3"])
    assert bare(config)
    assert yaml.safe_load(yaml.safe_dump(asdict(config))) == asdict(config)


def test_a_file_builds_no_objects(tmp_path, monkeypatch):
    (tmp_path / "wicked.py").write_text("open('imported', 'w')")
    (tmp_path / "c.yaml").write_text("model: {options: {dim: {class_path: wicked.Thing, init_args: {}}}}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = train.parse(["--config", "c.yaml"])
    assert config.model.options == {"dim": {"class_path": "wicked.Thing", "init_args": {}}}
    assert not (tmp_path / "imported").exists()


def test_a_mistake_in_yaml_names_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text("epochs: [3\nseed: 1\n")
    with pytest.raises(UserError) as error:
        train.parse(["--config", str(tmp_path / "c.yaml")])
    assert f"{tmp_path / 'c.yaml'}, line 2" in str(error.value)
    assert "unicode string" not in str(error.value)


@pytest.mark.parametrize("name", sorted(DATASET_DEFAULTS))
def test_dataset_defaults_are_settings(name):
    known = {setting for setting, _ in cli._settings(TrainConfig)}
    assert set(DATASET_DEFAULTS[name]) <= known


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epoch", "3"], "unknown setting 'epoch'; did you mean 'epochs'"),
        (["--optim.larning_rate", "1"], "unknown setting 'optim.larning_rate'"),
        (["--epochs", "three"], "^epochs is three; expected a whole number of at least 0 and at most 10..9$"),
        (["--epochs", "-1"], "^epochs is -1; expected at least 0 and at most 10..9$"),
        (["--patience", "0"], "^patience is 0; expected at least 1 and at most 10..9, or null$"),
        (["--clip-norm", "nan"], "^optim.clip_norm is nan; expected a positive number, or null$"),
        (["--erase", "1.5"], "^data.erase is 1.5; expected 0 to 1$"),
        (["--ema", "1"], "^optim.ema is 1; expected 0 up to but not 1$"),
        (["--milestones", "3", "x"], "^optim.milestones is x; expected a list, each a number of at least 0$"),
        (["--baselines=maybe"], "^baselines is maybe; expected true or false$"),
        (["--seed="], "^seed is empty; expected a whole number"),
        (["--seed", str(2**64)], r"^seed is \d{20}; expected at least 0 and less than 2\*\*64$"),
        (["--model", "3"], "^model is 3; expected its settings"),
        (["--top", "3"], "unknown setting 'top'"),
        (["--height", "4097"], "^height is 4097; expected at least 16 and at most 4096$"),
        (["--workers", "-1"], "^data.workers is -1; expected at least 0 and at most 1024$"),
        (["--data.clips", "65537"], "^data.clips is 65537; expected at least 1 and at most 65536$"),
        (["--jitter", "1e308"], "^data.jitter is 1e308; expected 0 to 10$"),
        (["--device", "meta"], "^device is meta; expected one of auto, cpu, cuda, cuda:1, mps, xpu$"),
        (["--device", "cuda:-1"], "^device is cuda:-1; expected one of auto"),
        (["--root", "caf\udce9"], r"^'caf\\udce9' is not UTF-8; rename it"),
        (["--root=\udcc3\udca9"], "is not UTF-8; rename it, or set LC_ALL=C.UTF-8"),
        (["--arch="], "^arch is empty; expected a text that is not empty"),
        (["--root", "a\0b"], r"^root is a\\0b; expected a text that .* has no null byte, or null$"),
        (["--precision", "float8"], "^precision is float8; expected one of auto, float32, bfloat16, float16$"),
        (["--junk", "3"], "^eval.junk is 3; expected one of auto"),
        (["--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_mistakes_in_options(argv, message):
    with pytest.raises(UserError, match=f"(?i){message}"):
        train.parse(argv)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: {lrr: 3}", "unknown setting 'optim.lrr'; did you mean 'optim.lr'"),
        ("epochs: soon", "^epochs is soon; expected a whole number of at least 0 and at most 10..9$"),
        ("epochs: null", "^epochs is null; expected a whole number of at least 0 and at most 10..9$"),
        ("optim:", "optim"),
        ("{optim: null, epochs: 3}", "^optim is null; expected its settings"),
        ("data: {flip: [1]}", "^data.flip is list; expected a number of 0 to 1$"),
        ("optim: {milestones: [3, -1]}", "^optim.milestones is -1; expected a list, each at least 0$"),
        ("arch: !!python/object/apply:os.system ['touch hacked']", "python/object/apply"),
        ("arch: [", "config"),
        ("- 1", "."),
    ],
)
def test_mistakes_in_a_file(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        train.parse(["--config", "c.yaml"])
    assert "\n" not in cli.one_line(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]


NUMBERS = ["-1", "0", "nan", "inf", "-.inf", "1.5", "x", "null", "[1]", "{a: 1}", "true", str(10**30)]


@pytest.mark.parametrize(("command", "name"), list(numbers()))
def test_every_number_parses_or_is_explained(command, name, tmp_path):
    config_class, required = config_of(command)
    required.pop(name, None)
    others = [f"--{other}={value}" for other, value in required.items()]
    file = tmp_path / "c.yaml"
    messages = []
    for value in NUMBERS:
        settings = yaml.safe_load(value)
        for part in reversed(name.split(".")):
            settings = {part: settings}
        file.write_text(yaml.safe_dump(settings))
        for argv in ([f"--{name}={value}"], ["--config", str(file)]):
            try:
                config = cli.parse(config_class, [*others, *argv], command)
                assert bare(config), argv
                yaml.safe_dump(asdict(config))
            except UserError as error:
                messages.append(str(error))
    assert len(messages) >= 8  # "x", {a: 1} and two more are nobody's number, on the command line and in a file
    assert [message for message in messages if not re.fullmatch(rf"{name} is [^\n]+; expected [^\n]+", message)] == []


def test_a_range_is_one_line_and_status_2(command_error, monkeypatch):
    for main, argv in (
        (extract.main, ["--height", "0", "--weights", "x", "--output", "x"]),
        (check.main, ["folder", "--purpose", "play"]),
        (calibrate.main, ["--far", "1", "--features", "x", "--output", "x"]),
        (search.main, ["--top", "0", "--features", "x", "--query", "x", "--output", "x"]),
    ):
        name, value = argv[-2:] if main is check.main else argv[:2]
        assert f"error: {name[2:]} is {value}; expected" in command_error(main, argv, monkeypatch)


def test_a_recipe_by_its_name():
    pytest.importorskip("st_reid.recipe_files")
    assert train.parse(["--config", "psta_mars"]).sources == "mars"
    with pytest.raises(UserError, match="psta_mras"):
        train.parse(["--config", "psta_mras"])


def run_python(*argv):
    """Run a module, and return its result, the processor seconds that it took, and the packages that it imported."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *argv], capture_output=True, text=True, timeout=60, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = set(re.findall(r"^import time:.*\| +(\w+)$", result.stderr, re.M))
    errors = [line for line in result.stderr.splitlines() if not line.startswith("import time:")]
    return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, imported, errors


SLOW = {"torch", "torchvision", "torchreid", "numpy", "scipy", "pandas", "matplotlib", "cv2", "PIL", "sklearn", "tqdm"}


@pytest.mark.parametrize("command", commands())
def test_help_is_quick_and_explains_every_setting(command):
    result, seconds, imported, errors = run_python(f"st_reid.{command}", "--help")
    assert result.returncode == 0, errors
    assert "st_reid" in imported
    assert not SLOW & imported
    assert seconds < 1
    options = result.stdout.split("\n  --")[1:]
    assert options or command == "run"
    for block in options:
        _, *explained = re.split(r"\s{2,}", block, maxsplit=1)  # after the option and what it takes
        assert re.match(r"(?s)[^(].{10}", "".join(explained)), block


def test_help_has_the_defaults_that_hold(capsys):
    for argv, epochs in (([], 36), (["--sources", "mars"], 500), (["--sources", "mars", "--epochs", "7"], 7)):
        with pytest.raises(SystemExit):
            train.parse(["--help", *argv])
        assert re.search(rf"--epochs [^-]*default:\s+{epochs}\)", capsys.readouterr().out)
    with pytest.raises(SystemExit):
        train.parse(["--print-config", "--sources", "mars"])
    assert yaml.safe_load(capsys.readouterr().out)["epochs"] == 500
    with pytest.raises(UserError, match="epochs is x"):
        train.parse(["--epochs", "x", "--help"])


def test_every_command_is_listed():
    programs = {file.stem for file in PACKAGE.glob("*.py") if '__name__ == "__main__"' in file.read_text()}
    assert set(commands()) == programs - {"__main__"}
    result, _, imported, _ = run_python("st_reid", "--help")
    assert not SLOW & imported
    for command, about in commands().items():
        assert re.search(rf"^  {command} +{re.escape(about)}$", result.stdout, re.M)


def test_one_program_for_every_command(tmp_path):
    alone, *_, errors_alone = run_python("st_reid.train", "--height", "0")
    result, *_, errors = run_python("st_reid", "train", "--height", "0")
    assert (result.returncode, errors) == (alone.returncode, errors_alone) == (2, errors)
    (tmp_path / "script.py").write_text("import json, sys; print(json.dumps([__name__, sys.argv])); sys.exit(7)")
    script = str(tmp_path / "script.py")
    result, *_ = run_python("st_reid", "run", script, "--lr", "1")
    assert (result.returncode, json.loads(result.stdout)) == (7, ["__main__", [script, "--lr", "1"]])


@pytest.mark.parametrize(
    ("argv", "message"), [(["trian"], "unknown command 'trian'; did you mean 'train'"), ([], "no command; pass one of")]
)
def test_mistakes_in_the_command(argv, message):
    result, *_, errors = run_python("st_reid", *argv)
    assert result.returncode == 2
    assert len(errors) == 1
    assert errors[0].startswith(f"st-reid: error: {message}")


def test_version():
    import st_reid

    assert run_python("st_reid", "--version")[0].stdout == f"st-reid {st_reid.__version__}\n"


def test_configs_of_the_project_are_valid():
    for file in (Path(__file__).parents[1] / "configs").rglob("*.yaml"):
        assert train.parse(["--config", str(file)]).arch == yaml.safe_load(file.read_text())["arch"]


MINE = """
from torch import nn
from st_reid.models.base import MODELS, ClipModel

class Mine(ClipModel):
    feature_dim = 3
    def __init__(self, classes):
        super().__init__()
        self.scale = nn.Parameter(nn.init.ones_(__import__("torch").empty(3)))
    def forward_clips(self, clips):
        return clips.mean(dim=(1, 3, 4)) * self.scale

MODELS.add("mine_of_a_file", lambda num_classes: Mine(num_classes))
"""


@pytest.mark.parametrize("how", ["file", *(pytest.param(how, marks=pytest.mark.slow) for how in ("equals", "module"))])
def test_a_model_of_ones_own_from_the_command_line(how, dataset_folder, tmp_path):
    import torch

    (tmp_path / "my_models.py").write_text(MINE)
    torch.save({"scale": torch.ones(3)}, tmp_path / "w.pth")
    option = {"file": ["--import", "my_models.py"], "equals": ["--import=my_models.py"],
              "module": ["--import", "my_models"]}[how]  # fmt: skip
    argv = ["--arch", "mine_of_a_file", "--weights", "w.pth", "--sources", "manifest", "--root", str(dataset_folder)]
    command = [sys.executable, "-m", "st_reid.evaluate", *option, *argv, "--output", "out", "--data.workers", "0"]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(tmp_path)])
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "manifest: 6 queries" in done.stdout


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (None, "no.py", "--import no.py: FileNotFoundError"),
        (None, "no_such_module_here", "--import no_such_module_here: ModuleNotFoundError"),
        ("1 / 0", "x.py", "--import x.py: ZeroDivisionError: division by zero"),
        ("def", "x.py", "--import x.py: SyntaxError"),
    ],
)
def test_what_cannot_be_imported(text, name, message, command_error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    assert message in command_error(train.main, ["--import", name], monkeypatch)
