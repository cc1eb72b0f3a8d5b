"""The literal formulations beside the ports: equal in float32, and the whole command at toy size."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import original
from legacy_ports.psta import LegacyPSTA
from st_reid.data.transforms import to_float
from st_reid.errors import UserError
from st_reid.models.psta import PSTA, PSTAHead
from st_reid.models.released import port_key

CHANNELS, DIM, CLASSES = 12, 16, 5
RETRIEVAL = ("--queries", 20, "--gallery", 120)


class Patches(nn.Conv2d):
    """A backbone of one convolution: 64 x 32 pixels become a map of 4 x 2."""

    def __init__(self):
        super().__init__(3, CHANNELS, 16, 16)
        self.channels = CHANNELS


@pytest.fixture
def small_psta(monkeypatch):
    def literal():
        torch.manual_seed(0)
        return LegacyPSTA(CLASSES, base=Patches(), channels=CHANNELS, dim=DIM, positions=8)

    def port(weights):
        model = PSTA(Patches(), PSTAHead(CHANNELS, CLASSES, dim=DIM, grid=(4, 2)), loss="triplet")
        model.load_state_dict({port_key(name): value for name, value in weights.items()})
        return model

    monkeypatch.setattr(original, "literal_psta", literal)
    monkeypatch.setattr(original, "port_psta", port)
    monkeypatch.setattr(original, "SIZE", (64, 32))


def test_difference():
    got, expected = [np.array([1.0, 2.0]), np.array([5.0])], [np.array([1.0, 4.0]), np.array([2.0])]
    assert original.difference(got, expected, relative=False) == 3
    assert original.difference(got, expected, relative=True) == 1.5


def test_thinning_keeps_rows_together():
    columns, features = original._thinned([np.arange(10), np.arange(10) + 100], np.arange(10)[:, None], 4)
    np.testing.assert_array_equal(columns[0], features[:, 0])
    np.testing.assert_array_equal(columns[1] - 100, columns[0])
    assert columns[0].tolist() == [0, 3, 6, 9]


@pytest.mark.slow
def test_the_whole_command(small_psta, run_script, tmp_path):
    output = tmp_path / "original.json"
    content = run_script("original", "--rounds", 1, "--warm-up", 0, *RETRIEVAL, output=output)
    results = content["results"]
    assert list(results) == list(original.TASKS)
    for task, rows in results.items():
        first, *others = rows.values()
        assert first["difference"] == 0
        assert first["times_as_fast"]["median"] == 1
        for row in others:
            assert row["times_as_fast"]["median"] > 0
        bound = 1e-4 if task in ("inference", "training", "re-ranking") else 1e-6
        exact = {name: row["difference"] for name, row in rows.items() if "bfloat16" not in name}
        assert max(exact.values()) < bound, (task, exact)
    assert 0 < results["inference"]["port, bfloat16, channels last"]["difference"] < 0.2
    assert output.with_suffix(".png").stat().st_size > 1000
    profiled = {task: [row["seconds_by_kind"] for row in rows.values()] for task, rows in results.items()}
    assert all(row["convolutions"] > 0 for task in ("inference", "training") for row in profiled[task])
    assert set(profiled["ranking"]) == {None}
    assert "convolutions, s" in output.with_suffix(".md").read_text()


def test_a_variant_that_fails_is_told_and_the_others_go_on():
    def failing():
        raise RuntimeError("no compiler | here\nat all")

    task = original.Task({"literal": lambda: 1.0, "port": failing, "other": lambda: 1.5}, lambda x: [np.array([x])])
    rows = original.measure(task, torch.device("cpu"), 1, 0)
    assert rows["port"]["failed"] == "RuntimeError: no compiler / here"
    assert rows["other"]["difference"] == 0.5
    assert "| t | port | RuntimeError: no compiler / here |  |  |" in original.table({"t": rows})
    nothing = original.measure(original.Task({"literal": failing, "port": failing}, None), torch.device("cpu"), 1, 0)
    assert all("failed" in row for row in nothing.values())
    assert original.kinds_table({"t": nothing}) == ""


def test_frames_that_the_literal_formulation_does_not_take():
    with pytest.raises(UserError, match="frames is 7; the literal formulation takes multiples of 8"):
        original.psta_task("inference", torch.device("cpu"), 7, 1, False)


def test_running_statistics_are_a_batchs():
    model = nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm2d(3))
    clips = torch.randint(256, (2, 2, 3, 4, 4), dtype=torch.uint8)
    original.warm_statistics(model, clips)
    torch.testing.assert_close(model[1].running_mean, to_float(clips).mean(dim=(0, 1, 3, 4)))
    assert model[1].momentum == 0.1


@pytest.mark.slow
def test_the_real_psta_and_its_port_agree(run_script, tmp_path):
    arguments = ("--tasks", "inference", "--batch", 1, "--rounds", 1, "--warm-up", 0)
    rows = run_script("original", *arguments, output=tmp_path / "original.json")["results"]["inference"]
    assert rows["port, float32, channels last"]["difference"] < 1e-4
