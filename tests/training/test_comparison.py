"""Comparing models: the plan, what is gained, and a small comparison that is called again."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import SMALLEST_RUN, to_argv

from st_reid import compare
from st_reid.data.clips import FRAMES
from st_reid.errors import UserError
from st_reid.training import comparison


def run_result(ap, shuffled=None, persons="aabb"):
    def queries(values):
        return {"person": list(persons), "ap": list(values), "hit": [int(v > 0.5) for v in values]}

    cost = {"parameters": 1e6, "flops": 2e9, "frames_per_second": 100.0, "train_seconds": 3.0}
    return {"frames": {way: queries(shuffled or ap if way == "shuffled" else ap) for way in FRAMES}, "cost": cost}


def test_gains_are_paired_and_of_persons():
    base = [run_result([0.1, 0.2, 0.3, 0.4]), run_result([0.5, 0.5], persons="bc")]
    better = [run_result([0.3, 0.2, 0.3, 0.8]), run_result([0.9, 0.4], persons="bc")]
    found = comparison.gain(better, base, "ordered", "ordered")
    a, b, c = np.mean([0.2, 0]), np.mean([0, 0.4, 0.4]), -0.1
    assert found["mean"] == pytest.approx(np.mean([a, b, c]))
    assert found["interval95"][0] <= found["mean"] <= found["interval95"][1]
    with pytest.raises(UserError, match="of other queries"):
        comparison.gain(better, base[::-1], "ordered", "ordered")


def test_rows_and_their_table():
    results = {}
    for epochs in (9, 3):
        for pair in ("split0-seed0", "split1-seed0"):
            results[epochs, "mean", pair] = run_result([0.1, 0.2, 0.3, 0.4])
            results[epochs, "p3d", pair] = run_result([0.2, 0.3, 0.4, 0.5], shuffled=[0.1, 0.2, 0.3, 0.4])
    rows = comparison.rows_of(results, ["mean", "p3d"])
    assert [(row["model"], row["epochs"], row["runs"]) for row in rows] == [
        ("mean", 3, 2), ("p3d", 3, 2), ("mean", 9, 2), ("p3d", 9, 2)
    ]  # fmt: skip
    assert rows[0]["frames"]["ordered"]["gain"] is None
    assert rows[1]["order"]["mean"] == pytest.approx(0.1)
    lines = comparison.table(rows).splitlines()
    assert lines[3].startswith("| p3d | 3 | 2 | 35.0 | 0.0 | +10.0 (+10.0 to +10.0) | +0.0 (+0.0 to +0.0) | +10.0")
    assert lines[3].endswith("| +10.0 (+10.0 to +10.0) | 1.00 | 2.000 | 100 | 3 s |")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"models": ["psta", "psta"]}, "models are .*each once"),
        ({"models": ["psta_resnet81"]}, "did you mean"),
        ({"models": ["psta"], "seeds": [0, 0]}, "seeds are"),
        ({"models": ["psta"], "recipe": "wardd"}, "unknown recipe 'wardd'"),
    ],
)
def test_what_will_not_do(changed, message, tmp_path):
    with pytest.raises(UserError, match=message):
        comparison.compare(output=str(tmp_path / "out"), **changed)


def small(folder, output, **more):
    settings = {key.replace("-", "_"): value for key, value in SMALLEST_RUN.items() if key not in ("arch", "sources")}
    settings |= {"data.persons": 3, "data.batches": 1, "epochs": 1, "model.options": {"zero_init_residual": False}}
    settings["model.pretrained"] = False
    arguments = {"models": "mean_resnet18", "sources": "manifest", "root": folder, "output": output}
    argv = to_argv(arguments | more)
    argv[2:2] = ["psta_resnet18"]
    return ["--train", json.dumps(settings), *argv]


@pytest.mark.slow
def test_a_comparison_that_is_called_again(dataset_folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    compare.main(small(dataset_folder, out))
    content = json.loads((out / "comparison.json").read_text())
    assert [row["model"] for row in content["rows"]] == ["mean_resnet18", "psta_resnet18"]
    for picture in ("gain_over_cost.png", "gain_over_budget.png"):
        assert (out / picture).stat().st_size > 1000
    for row in content["rows"]:
        report = json.loads((out / f"{row['model']}-epochs1-seed0" / "report.json").read_text())
        assert row["frames"]["ordered"]["ap"] == pytest.approx(report["appearance"]["mAP"], abs=1e-5)
        assert row["frames"]["ordered"]["hit"] == pytest.approx(report["appearance"]["rank1"], abs=1e-5)
    mean = content["rows"][0]["frames"]
    assert mean["ordered"]["ap"] == pytest.approx(mean["shuffled"]["ap"], abs=1e-9)
    (Path(out) / "psta_resnet18-epochs1-seed0" / comparison.QUERIES).unlink()  # stopped before its evaluation
    monkeypatch.setattr(comparison, "train", None)  # nothing is trained again
    compare.main(small(dataset_folder, out))
    again = json.loads((out / "comparison.json").read_text())
    assert again["rows"][1]["frames"] == content["rows"][1]["frames"]
    argv = small(dataset_folder, out)
    argv[1] = argv[1].replace('"height": 32', '"height": 64')
    with pytest.raises(UserError, match="height is 64, and was 32"):
        compare.main(argv)
