"""Settings made in Python are those of the command line."""

import pytest
import yaml

from st_reid import train
from st_reid.config import (
    DATASET_DEFAULTS,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    check_combinations,
    write_config,
)
from st_reid.errors import UserError


def written(config, folder):
    folder.mkdir()
    write_config(config, folder)
    return (folder / "config.yaml").read_text()


@pytest.mark.parametrize("sources", sorted({"mars", *DATASET_DEFAULTS}))
def test_a_config_is_what_the_command_makes_of_as_little(sources, tmp_path):
    ours, parsed = TrainConfig(sources=sources), train.parse(["--sources", sources])
    assert ours == parsed
    assert written(ours, tmp_path / "ours") == written(parsed, tmp_path / "parsed")
    assert train.parse(["--config", str(tmp_path / "ours" / "config.yaml")]) == ours


def test_without_any_setting_it_is_walkers(tmp_path):
    assert TrainConfig() == train.parse([]) == TrainConfig(sources="walkers")
    assert written(TrainConfig(), tmp_path / "a") == written(train.parse([]), tmp_path / "b")
    walkers = TrainConfig()
    assert (walkers.epochs, walkers.height, walkers.optim.lr, walkers.model.pretrained) == (36, 64, 1e-3, False)


def test_what_is_given_wins_whatever_it_is():
    general = TrainConfig(sources="mars")
    assert general.epochs == 500
    assert TrainConfig(epochs=500).epochs == 500
    assert TrainConfig("psta", "walkers").epochs == DATASET_DEFAULTS["walkers"]["epochs"]
    for name, value in (("height", 256), ("seq_len", 8), ("val_identities", None), ("validate_every", 10)):
        assert getattr(TrainConfig(**{name: value}), name) == value == getattr(general, name)
    groups = {
        "optim": OptimConfig(lr=3.5e-4),
        "model": ModelConfig(pretrained=True),
        "data": DataConfig(persons=8),
        "eval": EvalConfig(batch=16),
    }
    config = TrainConfig(**groups)
    assert (config.optim.lr, config.model.pretrained, config.data.persons, config.eval.batch) == (3.5e-4, True, 8, 16)
    assert config.optim.schedule == "cosine", "what of a group is not given is the dataset's"
    assert config.data.clips == 2
    argv = ["--optim.lr", "3.5e-4", "--model.pretrained", "true", "--data.persons", "8", "--eval.batch", "16"]
    assert config == train.parse(argv)


@pytest.mark.parametrize("name", sorted(DATASET_DEFAULTS))
def test_every_default_of_a_dataset_is_taken(name):
    config = TrainConfig(sources=name)
    for setting, value in DATASET_DEFAULTS[name].items():
        found = config
        for part in setting.split("."):
            found = getattr(found, part)
        assert found == value, setting


def test_a_written_configuration_says_everything_but_what_it_resumes(tmp_path):
    text = written(TrainConfig(resume="somewhere"), tmp_path / "a")
    settings = yaml.safe_load(text)
    assert "resume" not in settings
    assert settings["optim"]["lr"] == 1e-3
    assert settings["eval"]["joint"]["use"] == "auto"


def test_what_is_good_alone_and_not_together():
    check_combinations(TrainConfig())
    with pytest.raises(UserError, match="a batch of 1 clip"):
        check_combinations(TrainConfig(data=DataConfig(persons=1, clips=1)))
