"""Options, configuration files and the one line that a mistake gets."""

import subprocess
import sys

import pytest
import yaml

from st_reid import cli, train
from st_reid.config import DATASET_DEFAULTS, TrainConfig
from st_reid.errors import UserError


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
    from st_reid.report import write_config

    config = train.parse(["--model.options", "{zero_init_residual: true, dim: 64}", "--data.batches", "3"])
    write_config(config, tmp_path)
    assert train.parse(["--config", str(tmp_path / "config.yaml")]) == config


def test_flags_need_no_value():
    assert train.parse(["--baselines", "--epochs", "3"]).baselines is True
    assert train.parse(["--baselines", "false"]).baselines is False


def test_the_last_part_of_a_name_will_do_where_it_is_unique():
    config = train.parse(["--lr", "5e-4", "--junk=same_tracklet", "--k1", "7"])
    assert (config.optim.lr, config.eval.junk, config.eval.rerank.k1) == (5e-4, "same_tracklet", 7)
    with pytest.raises(UserError, match="unknown setting 'sampler'"):  # of data, or of eval?
        train.parse(["--sampler", "dense"])


@pytest.mark.parametrize("name", sorted(DATASET_DEFAULTS))
def test_dataset_defaults_are_settings(name):
    known = {setting for setting, _ in cli._settings(TrainConfig)}
    assert set(DATASET_DEFAULTS[name]) <= known


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epoch", "3"], "unknown setting 'epoch'; did you mean 'epochs'"),
        (["--optim.larning_rate", "1"], "unknown setting 'optim.larning_rate'"),
        (["--epochs", "three"], "epochs.*got value: three"),
        (["--precision", "float8"], "precision"),
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
        ("epochs: soon", "epochs"),
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


def test_every_setting_is_explained():
    for command in ("train", "evaluate", "tracklets"):
        text = subprocess.run(
            [sys.executable, "-m", f"st_reid.{command}", "--help"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for block in text.split("\n  --")[1:]:
            option, _, rest = block.partition(" ")
            explained = " ".join(rest.split()).split("(", 1)[0]
            assert len(explained) > 10, (command, option, block)


def test_configs_of_the_project_are_valid():
    from pathlib import Path

    for file in (Path(__file__).parents[1] / "configs").rglob("*.yaml"):
        assert train.parse(["--config", str(file)]).arch == yaml.safe_load(file.read_text())["arch"]
