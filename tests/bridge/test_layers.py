"""torchreid's recipes for the classifier alone do what they mean on clip models, whose classifiers lie deeper."""

import pytest
import torch

import st_reid
from st_reid.bridge.layers import show_layers
from st_reid.errors import UserError
from st_reid.torchreid_compat import submodule

SMALL = {"psta_osnet_x0_25": {"dim": 16, "levels": 2}, "st_reid_pcb": {"dim": 8}, "osnet_x0_25": {}}


def register():
    import torchreid  # noqa: F401 - which has st_reid registered


def make(name):
    register()
    return st_reid.create_model(name, 3, loss="softmax", height=96, width=32, **SMALL[name])


def classifier_parameters(model):
    return {name for name, _ in model.named_parameters() if "classifier" in name}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("layers", ["classifier", ["classifier"]])
@pytest.mark.parametrize("where", ["utils", "engine.engine"])
def test_open_layers_trains_the_classifiers_alone(name, layers, where):
    model = make(name).train()
    submodule(where).open_specified_layers(model, layers)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == classifier_parameters(model)
    assert not any(m.training for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    output = model(torch.randn(2, 4, 3, 96, 32))  # in training mode still: logits
    logits = output if isinstance(output, torch.Tensor) else output[0]
    assert logits.shape == (2, 3)
    submodule("utils").open_all_layers(model)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("wrapped", [False, True])
def test_staged_learning_rates_reach_the_classifiers(name, wrapped):
    model = make(name)
    whole = torch.nn.DataParallel(model) if wrapped else model
    optimizer = submodule("optim").build_optimizer(
        whole, optim="adam", lr=0.01, staged_lr=True, new_layers=["classifier"]
    )
    base, new = optimizer.param_groups
    names = {p: n for n, p in model.named_parameters()}
    assert {names[p] for p in new["params"]} == classifier_parameters(model)
    assert len(base["params"]) + len(new["params"]) == len(names)
    assert (base["lr"], new["lr"]) == (pytest.approx(0.001), 0.01)


def test_a_layer_that_is_not_there_is_said():
    model = make("psta_osnet_x0_25")
    with pytest.raises(UserError, match="no layer 'fc'; expected 'classifier', or one of backbone, head"):
        submodule("optim").build_optimizer(model, staged_lr=True, new_layers=["fc"])
    with pytest.raises(UserError, match="new_layers is ''"):
        submodule("optim").build_optimizer(model, staged_lr=True, new_layers="")
    shown = show_layers(model, ["head"])
    assert [name for name, _ in shown.named_children()] == ["head", "all_others"]


def test_other_models_are_as_they_were():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model.classifier = torch.nn.Linear(2, 3)
    register()
    submodule("utils").open_specified_layers(model, "classifier")
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    assert len(submodule("optim").build_optimizer(model, optim="sgd").param_groups) == 1
