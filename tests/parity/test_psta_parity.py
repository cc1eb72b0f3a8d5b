"""Oracle and port against numbers computed once with the authors' own formulation, psta_t8.npz and psta_t16.npz."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity.weights import formula_input, formula_state_dict, load_reference

from legacy_ports.psta import LegacyPSTA, convert_psta
from st_reid import create_model
from st_reid.models.layers.stam import per_frame
from st_reid.models.released import port_key

REFERENCES = ("psta_t8", "psta_t16")
MODELS = ("oracle", "port")


def build(kind, reference):
    seed, _, _, classes = map(int, reference["meta"])
    weights = formula_state_dict(reference["keys"], reference["shapes"], seed)
    if kind == "oracle":
        model = LegacyPSTA(classes)
        model.load_state_dict(weights)
    else:
        model = create_model("psta", classes, loss="triplet")
        model.load_state_dict(convert_psta(weights))
    return model


def clips(reference):
    seed, B, T, _ = map(int, reference["meta"])
    return formula_input((B, T, 3, 256, 128), seed)


def error(got, expected):
    """Largest difference over largest value."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    return np.abs(got - expected).max() / np.abs(expected).max()


def pyramid(kind, model, x):
    return (
        model.pyramid(x)
        if kind == "oracle"
        else model.head.pyramid(per_frame(model.head.reduce, per_frame(model.backbone, x)))
    )


def test_port_in_float32_evaluation():
    reference = load_reference("psta_t8")
    model = build("port", reference).eval()
    with torch.inference_mode():
        feature = model(clips(reference))
    assert error(feature, reference["eval_feature_float32"]) < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", REFERENCES)
def test_evaluation_in_float64(name, kind):
    reference = load_reference(name)
    model = build(kind, reference).double().eval()
    x = clips(reference).double()
    with torch.inference_mode():
        levels = pyramid(kind, model, x)
        assert error(model(x), reference["eval_feature"]) < 1e-9
    assert error([f.mean() for f in levels], reference["level_means"]) < 1e-9
    assert error([f.std() for f in levels], reference["level_stds"]) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", REFERENCES)
def test_training_in_float64(name, kind):
    reference = load_reference(name)
    model = build(kind, reference).double().train()
    x = clips(reference).double()
    labels = torch.arange(len(x)) % int(reference["meta"][3])
    logits, features = model(x)
    loss = torch.stack([F.cross_entropy(y, labels) for y in logits]).mean()
    loss = loss + torch.stack([f.square().mean() for f in features]).mean()
    loss.backward()

    for k in range(3):
        assert error(logits[k].detach(), reference[f"train_logits_{k}"]) < 1e-9
        assert error(features[k].detach(), reference[f"train_feature_{k}"]) < 1e-9
    assert abs(loss.item() / reference["loss"] - 1) < 1e-9

    rename = port_key if kind == "port" else str
    gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    names = [rename(str(key)) for key in reference["grad_names"]]
    assert sorted(names) == sorted(gradients)
    assert error([gradients[key].norm() for key in names], reference["grad_norms"]) < 1e-9
    state = model.state_dict()
    names = [rename(str(key)) for key in reference["running_names"]]
    assert error([state[key].sum() for key in names], reference["running_sums"]) < 1e-9
    assert error([state[key].norm() for key in names], reference["running_norms"]) < 1e-9
