"""Checkpoints of the originals, and of ourselves, by the name of the model: from a file to a loaded model."""

import json

import pytest
import torch
from parity.weights import formula_state_dict, load_reference
from small_runs import to_argv

from legacy_ports import convert_pcb, convert_psta
from legacy_ports.psta import LegacyPSTA
from st_reid import create_model, evaluate
from st_reid.errors import UserError
from st_reid.evaluation.report import rankings_in
from st_reid.models.checkpoints import CLASSIFIERS
from st_reid.models.loading import load_for_evaluation
from st_reid.models.released import rename_pcb, rename_psta


def make_psta():
    torch.manual_seed(0)
    return LegacyPSTA(7).state_dict()


def make_pcb():
    reference = load_reference("pcb")
    return formula_state_dict(reference["keys"], reference["shapes"], seed=1)


RELEASED = {"psta": (make_psta, convert_psta), "st_reid_pcb": (make_pcb, convert_pcb)}


@pytest.fixture(scope="module")
def released():
    """State dicts under their original names, by model."""
    return {name: make() for name, (make, _) in RELEASED.items()}


def without_classifiers(state_dict):
    return {name: value for name, value in state_dict.items() if not {*CLASSIFIERS} & {*name.split(".")}}


def assert_loaded(loaded, expected):
    """A loaded model has these weights, the classifiers aside, which are of another size."""
    found = without_classifiers(loaded.model.state_dict())
    expected = without_classifiers(expected)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not loaded.model.training


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("within", [None, "state_dict"])
@pytest.mark.parametrize("name", RELEASED)
def test_a_released_checkpoint_is_loaded_by_its_models_name(name, within, prefix, released, tmp_path, caplog):
    state_dict = {prefix + key: value for key, value in released[name].items()}
    torch.save(state_dict if within is None else {within: state_dict}, tmp_path / "released.pth")
    with caplog.at_level("INFO"):
        loaded = load_for_evaluation(str(tmp_path / "released.pth"), arch=name)
    assert loaded.arch == name
    _, convert = RELEASED[name]
    assert_loaded(loaded, convert(state_dict))
    assert "left out" in caplog.text
    assert "classifier" in caplog.text


@pytest.mark.parametrize(
    ("name", "options"), [("psta_osnet_x0_25", {"dim": 16, "levels": 1}), ("st_reid_pcb", {"parts": 2, "dim": 8})]
)
def test_a_checkpoint_of_our_own_names_stays(name, options, tmp_path):
    own = create_model(name, 5, **options).state_dict()
    assert rename_psta(own) is own
    assert rename_pcb(own) is own
    torch.save(own, tmp_path / "own.pth")
    assert_loaded(load_for_evaluation(str(tmp_path / "own.pth"), arch=name, options=options), own)


def test_the_command_gives_the_converted_weights_figures(released, dataset_folder, tmp_path):
    torch.save(released["psta"], tmp_path / "released.pth")
    torch.save(convert_psta(released["psta"]), tmp_path / "converted.pth")
    settings = {"arch": "psta", "sources": "manifest", "root": dataset_folder, "height": 64, "width": 32, "seq-len": 2}
    settings |= {"device": "cpu", "precision": "float32", "data.workers": 0, "eval.sheet_queries": 1}
    reports = []
    for name in ("released", "converted"):
        evaluate.main(to_argv(settings | {"weights": tmp_path / f"{name}.pth", "output": tmp_path / name}))
        reports.append(json.loads((tmp_path / name / "report.json").read_text()))
    assert rankings_in(reports[0]) == rankings_in(reports[1])
    assert reports[0]["arch"] == "psta"


def test_of_another_model_nothing_is_loaded(released, tmp_path):
    torch.save(released["st_reid_pcb"], tmp_path / "pcb.pth")
    with pytest.raises(UserError, match=r"pcb\.pth"):
        load_for_evaluation(str(tmp_path / "pcb.pth"), arch="psta")
