"""ST-ReID's PCB against numbers computed once with the authors' own formulation, pcb.npz."""

import numpy as np
import pytest
import torch
from parity.weights import formula_input, formula_state_dict, load_reference

from legacy_ports import convert_pcb
from st_reid import create_model


@pytest.fixture(scope="module")
def reference():
    return load_reference("pcb")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_port(reference, prefix):
    seed, B, classes = map(int, reference["meta"])
    weights = formula_state_dict(reference["keys"], reference["shapes"], seed)
    model = create_model("st_reid_pcb", classes, height=384, width=192)
    model.load_state_dict(convert_pcb({prefix + key: value for key, value in weights.items()}))
    model.eval()
    if prefix:
        return  # the same weights again
    images = formula_input((B, 3, 384, 192), seed)
    with torch.inference_mode():
        parts = model.pool(images)
        logits = [classify(part) for classify, part in zip(model.classifiers, model.embed(parts), strict=True)]
        feature = model(images)
        clip_feature = model(images[:, None].expand(-1, 3, -1, -1, -1))
    for ours, expected in (
        (parts, reference["part_map"]),
        (torch.stack(logits), reference["part_logits"]),
        (feature, reference["feature"]),
    ):
        assert ours.shape == expected.shape
        assert np.abs(ours.numpy() - expected).max() / np.abs(expected).max() < 2e-6
    torch.testing.assert_close(clip_feature, feature)  # a clip of one frame three times
    assert model.feature_dim == 12_288
