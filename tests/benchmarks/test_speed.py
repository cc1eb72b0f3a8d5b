"""The table of speeds: what is measured, what it costs, rows that fail, and the whole command at toy size."""

import json
from dataclasses import asdict

import pytest
import torch

from benchmarks import speed
from benchmarks.timing import Effort
from st_reid import create_model
from st_reid.errors import UserError

CPU = torch.device("cpu")
ONCE = Effort(rounds=1, seconds=0, warm_up=0)
TINY = ("--size", 64, 32, "--frames", 4, "--rounds", 1, "--seconds", 0, "--warm-up", 0, "--ceiling-size", 32)


def case(model="psta_resnet18", task="inference", frames=4, batch=2, precision="float32", mode="eager", size=(64, 32)):
    options = (("dim", 32),) if model.startswith("psta") else ()
    return speed.Case(model, task, frames, batch, precision, mode, *size, options)


def test_frame_level_models_are_measured_with_one_number_of_frames():
    grid = {"batches": (1, 2), "precisions": ("float32",), "modes": ("eager",), "tasks": speed.TASKS}
    found = list(speed.cases(["psta", "osnet_x0_25", "hacnn"], (4, 16), (64, 32), **grid))
    rows = {(c.model, c.task, c.frames, c.batch) for c in found}
    assert {(t, b) for m, t, f, b in rows if (m, f) == ("psta", 16)} == {
        ("inference", 1),
        ("inference", 2),
        ("training", 2),  # one clip is no training batch
    }
    assert {f for m, _, f, _ in rows if m == "psta"} == {4, 16}
    assert {f for m, _, f, _ in rows if m == "osnet_x0_25"} == {4}
    assert {(c.height, c.width) for c in found if c.model == "hacnn"} == {(160, 64)}


def test_flops_of_a_known_network():
    model = create_model("resnet18", 5)
    cost = speed.cost(case("resnet18", frames=1, size=(256, 128)), CPU)
    # torchvision's 1.814e9 multiplications at 224 x 224, without the classifier; two operations each.
    expected = 2 * (1.814e9 - 512e3) * 256 * 128 / 224**2
    assert cost["flops_per_clip"] == pytest.approx(expected, rel=2e-3)
    assert cost["parameters"] == sum(p.numel() for p in model.parameters()) - sum(
        p.numel() for p in model.model.classifier.parameters()
    )
    assert speed.cost(case("resnet18", frames=3, size=(256, 128)), CPU)["flops_per_clip"] == pytest.approx(
        3 * cost["flops_per_clip"]
    )


def test_flops_of_attention():
    def difference(frames):
        costs = [speed.cost(case(f"{m}_resnet18", frames=frames, size=(64, 32)), CPU) for m in ("nonlocal", "mean")]
        return costs[0]["flops_per_clip"] - costs[1]["flops_per_clip"]

    # Two products of all positions with a quarter of them, in the second stage (64 of 128 channels) and the third.
    per_frame = difference(1) - 2 * 2 * (64 * 32 * 8 + 128 * 8 * 2)
    grown = difference(3) - 3 * per_frame
    assert grown == 9 * 2 * 2 * (64 * 32 * 8 + 128 * 8 * 2)
    assert {f"{name}_resnet50" for name in ("mean", "ap3d", "nonlocal")} <= set(speed.USUAL["models"])


@pytest.mark.parametrize(("task", "precision"), [("training", "float32"), ("inference", "bfloat16")])
def test_a_row_holds_what_is_promised(task, precision):
    row = speed.measure(case(task=task, precision=precision, mode="channels_last"), CPU, ONCE)
    assert "failed" not in row
    clips = row["clips_per_second"]
    assert 0 < clips["q1"] <= clips["median"] <= clips["q3"]
    assert row["frames_per_second"] == pytest.approx(4 * clips["median"])
    content = {"runs": [{"ceilings": {"matmul": {precision: 1e12}, "copy": 1e9}}], "rows": [row | {"run": 0}]}
    speed.add_shares(content)
    share = row["flops_per_clip"] * clips["median"] / 1e12
    assert content["rows"][0]["share_of_matmul"] == pytest.approx(share)
    assert content["rows"][0]["share_of_copy"] == pytest.approx(row["bytes_per_clip"] * clips["median"] / 1e9)
    assert row["latency_seconds"] is None
    assert row["peak_memory_gb"] is None


def test_the_latency_is_that_of_one_clip():
    row = speed.measure(case(batch=1), CPU, ONCE)
    assert row["latency_seconds"] == row["seconds"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(case("inceptionv4"), "UserError: inceptionv4 cannot take"), (case(mode="no such"), "KeyError")],
    ids=["size", "anything"],
)
def test_a_row_that_fails_says_why(bad, reason):
    row = speed.measure(bad, CPU, ONCE)
    assert row["failed"].startswith(reason)
    assert row["failed"] in speed.table([row | {"run": 0}])


def test_bytes_of_a_known_network():
    x = torch.zeros(1, 3, 4, 4)
    with speed.ByteCounter() as moved:
        (x.view(3, 16) + x.flatten(1, 3).view(3, 16)).relu_()  # views move nothing
    assert moved.total == (3 + 2) * x.nbytes
    large = [case(precision=precision, size=(256, 128)) for precision in ("float32", "bfloat16")]
    float32, bfloat16 = (speed.cost(c, CPU)["bytes_per_clip"] for c in large)
    assert 0.5 < bfloat16 / float32 < 0.75  # half of the maps; weights are cast at each call


def test_a_row_is_known_again_from_its_file():
    row = asdict(case())
    assert speed.key(json.loads(json.dumps({"run": 0, **row}))) == speed.key(row)


def test_the_fastest_way_of_each_model():
    def row(clips, **changes):
        rate = {"q1": clips - 1, "median": clips, "q3": clips + 1}
        return asdict(case(**changes)) | {"clips_per_second": rate}

    rows = [row(5), row(9, precision="bfloat16"), row(7, task="training"), row(3, frames=8)]
    rows.append({**row(99), "failed": "no"})
    assert [r["frames"] for r in speed.in_order(rows[::-1])] == [4, 4, 4, 8, 4]  # training comes last
    assert list(speed.fastest(rows, "inference").values()) == [(8, 9, 10), (2, 3, 4)]
    assert speed.fastest(rows, "inference") == {
        "psta_resnet18, 4 frames (bfloat16, eager, batch 2)": (8, 9, 10),
        "psta_resnet18, 8 frames (float32, eager, batch 2)": (2, 3, 4),
    }


def test_the_whole_command_and_its_completion(run_script, tmp_path):
    output = tmp_path / "results" / "speed.json"
    models = ("--models", "osnet_x0_25", "psta_osnet_x0_25", "--precisions", "float32", "--batches", 2)
    first = run_script("speed", *models, *TINY, "--modes", "eager", "--tasks", "inference", output=output)
    assert [row["model"] for row in first["rows"]] == ["osnet_x0_25", "psta_osnet_x0_25"]
    assert not any("failed" in row for row in first["rows"])
    assert set(first["runs"][0]["ceilings"]["matmul"]) == {"float32"}
    assert output.with_suffix(".png").stat().st_size > 1000

    more = ("--modes", "eager", "channels_last", "--tasks", "inference", "--add")
    second = run_script("speed", "--models", "osnet_x0_25", *models[3:], *TINY, *more, output=output)
    assert second["rows"][:2] == first["rows"]
    assert [(row["mode"], row["run"]) for row in second["rows"][2:]] == [("channels_last", 1)]

    second["rows"][0]["clips_per_second"]["q3"] = 9e9  # something else ran while it was measured
    second["rows"][1]["failed"] = "for want of memory"
    second["rows"][2]["clips_per_second"]["q3"] = 9e9  # and now it is not asked for
    output.write_text(json.dumps(second))
    more = ("--modes", "eager", "--tasks", "inference", "--add", "--steady", 1e6)
    third = run_script("speed", *models, *TINY, *more, output=output)
    assert third["rows"][0] == second["rows"][2]
    again = [(row["model"], row["mode"], row["run"]) for row in third["rows"][1:]]
    assert again == [("osnet_x0_25", "eager", 2), ("psta_osnet_x0_25", "eager", 2)]
    assert not any("failed" in row for row in third["rows"])
    assert "| 2 | " in output.with_suffix(".md").read_text().partition("\n\n")[2]  # the run and its ceilings


def test_only_its_own_files_are_completed(tmp_path):
    path, here = tmp_path / "other.json", {"device": "a", "torch": "2", "threads": 2}
    path.write_text("{}")
    with pytest.raises(UserError, match=r"no result of benchmarks\.speed"):
        speed.read(path, here)
    content = {"rows": [], "runs": [{"environment": here}]}
    path.write_text(json.dumps(content))
    assert speed.read(path, here) == content
    with pytest.raises(UserError, match="is of a, torch 2, 2 threads, and this is b, torch 2, 2 threads; pass another"):
        speed.read(path, here | {"device": "b"})


def test_what_only_a_gpu_does_is_refused_on_a_cpu(run_script, tmp_path):
    with pytest.raises(UserError, match="cudagraphs and tf32 needs a GPU, and the device is cpu"):
        run_script(
            "speed", "--modes", "cudagraphs", "--precisions", "tf32", "--device", "cpu", output=tmp_path / "s.json"
        )
