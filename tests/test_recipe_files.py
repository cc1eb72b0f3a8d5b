"""A recipe is found by its name; `test_wheel.py` finds one in an installed wheel."""

from pathlib import Path

import pytest

from st_reid.errors import UserError
from st_reid.recipe_files import find_config

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("name", ["psta_mars", "comparison/hacnn_softmax", "psta_mars.yaml"])
def test_a_recipe_is_found_by_its_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "psta_mars").mkdir()  # a folder of settings is no recipe
    assert find_config(name) == CONFIGS / f"{name.removesuffix('.yaml')}.yaml"


@pytest.mark.parametrize("name", ["own.yaml", "psta_mars", "/dev/null"])
def test_an_existing_file_is_itself(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    assert find_config(name) == Path(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("psta_marz", "unknown recipe 'psta_marz'; did you mean 'psta_mars'"),
        ("hacnn_softmax", "did you mean 'comparison/hacnn_softmax'"),
        ("missing/psta.yaml", "unknown recipe 'missing/psta.yaml'"),
        ("../configs/psta_mars", "unknown recipe"),
        ("", "unknown recipe ''"),
    ],
)
def test_what_is_unknown_is_named_with_what_is_near(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        find_config(name)
    assert "\n" not in str(error.value)
