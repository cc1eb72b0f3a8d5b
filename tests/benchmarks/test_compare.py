"""Accuracy over speed, and ablations of a checkpoint: on a run of a few seconds."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import to_argv

from benchmarks import compare
from st_reid import evaluate
from st_reid.data.clips import SAMPLERS
from st_reid.data.tracklet import Tracklet
from st_reid.errors import UserError


def tracklet(frames):
    return Tracklet("t", tuple(Path(f"{i}.jpg") for i in range(frames)), "p", "c")


def numbers(changed):
    return [int(path.stem) for path in changed.paths]


@pytest.mark.parametrize("sampler", compare.TEST_SAMPLERS)
@pytest.mark.parametrize("frames", [3, 8, 21])
def test_shuffling_within_clips_changes_nothing_but_the_order(sampler, frames):
    before = SAMPLERS.get(sampler)(frames, 8, None).indices
    changed = numbers(compare.shuffled_in_clips(tracklet(frames), sampler, 8, np.random.default_rng(0)))
    assert sorted(changed) == list(range(frames))
    assert changed != list(range(frames))
    after = np.array(changed)[before]
    assert [set(clip) for clip in after.tolist()] == [set(clip) for clip in before.tolist()]


def test_other_changes_of_tracklets():
    assert sorted(numbers(compare.shuffled(tracklet(9), np.random.default_rng(0)))) == list(range(9))
    assert numbers(compare.repeated(tracklet(9), 4)) == [4] * 4


def test_every_variant_once_and_the_runs_own_first():
    found = compare.variants(8, "all", 0)
    named = [(v.name, v.frames, v.sampler) for v in found]
    assert named[0] == ("as the run", 8, "all")
    assert len(set(named)) == len(named)
    assert {v.frames for v in found if v.sampler == "all" and v.change is None} == set(compare.FRAMES)
    assert {v.sampler for v in found if v.frames == 8 and v.change is None} == set(compare.TEST_SAMPLERS)
    assert {v.name for v in found if v.change} == {
        "shuffled within each clip",
        "shuffled over the tracklet",
        "one frame repeated",
    }


def test_the_ablation_begins_with_what_the_run_reported(finished_run, run_script, tmp_path):
    output = tmp_path / "ablation.json"
    content = run_script("compare", "--ablate", finished_run, "--device", "cpu", output=output)
    reported = json.loads((finished_run / "report.json").read_text())["appearance"]
    assert {key: content["rows"][0][key] for key in reported} == reported
    assert len(content["rows"]) == len(compare.variants(4, "all", 0))
    assert all(0 <= row["mAP"] <= 1 for row in content["rows"])
    assert output.with_suffix(".png").stat().st_size > 1000
    assert "| one frame repeated | 4 | all |" in output.with_suffix(".md").read_text()


@pytest.mark.slow
def test_of_an_evaluation_and_of_several_runs(finished_run, run_script, dataset_folder, tmp_path):
    weights = finished_run / "checkpoints" / "best.pth"
    settings = {"weights": weights, "sources": "manifest", "root": dataset_folder, "output": tmp_path / "e"}
    settings |= {"seq-len": 2, "precision": "float32", "device": "cpu", "eval.rerank": "{k1: 2}"}
    evaluate.main(to_argv(settings))
    twice = [tmp_path / "e"] * 2  # a folder named twice is one
    content = run_script("compare", "--ablate", *twice, "--device", "cpu", output=tmp_path / "a.json")
    reported = json.loads((tmp_path / "e" / "report.json").read_text())["appearance"]
    assert {key: content["rows"][0][key] for key in reported} == reported
    assert (content["rows"][0]["frames"], "runs" in content) == (2, False)


def test_the_mean_of_several_ablations():
    def ablation(mAP, arch="psta"):
        row = {"variant": "as the run", "frames": 4, "sampler": "all", "rank1": 0.5, "mAP": mAP, "mINP": 0.3}
        return {"arch": arch, "dataset": "d", "rows": [row]}

    found = compare.mean_of({"a": ablation(0.4), "b": ablation(0.5)})
    (row,) = found["rows"]
    assert (row["mAP"], row["range"]["mAP"]) == (pytest.approx(0.45), [0.4, 0.5])
    assert found["runs"]["b"][0]["mAP"] == 0.5
    assert "| as the run | 4 | all | 50.0 | 45.0 | 30.0 | +0.0 |" in compare.ablation_table(found["rows"])
    with pytest.raises(UserError, match="a, b are of different models"):
        compare.mean_of({"a": ablation(0.4), "b": ablation(0.5, "osnet_x0_25")})


def test_nothing_to_ablate(tmp_path):
    with pytest.raises(UserError, match=r"holds neither checkpoints/best\.pth nor an evaluation"):
        compare.evaluation_of(tmp_path)
    (tmp_path / "config.yaml").write_text("epochs: 3\n")  # a run that was stopped
    with pytest.raises(UserError, match="holds neither"):
        compare.evaluation_of(tmp_path)


def report(**changes):
    figures = {"mAP": 0.4, "rank1": 0.5, "mINP": 0.3}
    protocol = {"frames": "clips of 4 at 64 x 32, sampler all"}
    return {"arch": "psta", "dataset": "d", "protocol": protocol, "appearance": figures, "options": {}} | changes


def test_what_is_measured_is_what_the_report_is_of():
    case = compare.case_of(report(options={"dim": 32}), 16, "bfloat16", "eager")
    assert (case.model, case.frames, case.height, case.width, case.options) == ("psta", 4, 64, 32, (("dim", 32),))
    assert (case.task, case.batch, case.precision, case.mode) == ("inference", 16, "bfloat16", "eager")
    with pytest.raises(UserError, match="does not say what its clips are"):
        compare.case_of(report(protocol={}), 16, "bfloat16", "eager")


def test_runs_of_one_name_are_one_model():
    runs = {"a": [report(train_seconds=1), report(arch="osnet_x0_25", train_seconds=1)]}
    with pytest.raises(UserError, match="the runs of a are of different models"):
        compare.compare(runs, lambda case: {}, lambda r: compare.case_of(r, 1, "float32", "eager"))


def test_accuracy_over_speed(finished_run, run_script, tmp_path):
    for seed, rank1 in ((0, 0.5), (1, 0.7)):
        folder = tmp_path / f"frames-seed{seed}-split0"
        folder.mkdir()
        figures = {"mAP": 0.4, "rank1": rank1, "mINP": 0.3}
        (folder / "report.json").write_text(json.dumps(report(arch="osnet_x0_25", appearance=figures)))
    folders = [finished_run, *tmp_path.glob("frames-*")]
    output = tmp_path / "compare.json"
    arguments = ("--batch", 2, "--rounds", 1, "--precision", "float32", "--device", "cpu")
    content = run_script("compare", *folders, *arguments, output=output)
    rows = {row["name"]: row for row in content["rows"]}
    assert set(rows) == {"psta-tiny", "frames"}
    assert rows["frames"]["runs"] == 2
    assert rows["frames"]["rankings"]["appearance"]["rank1"]["mean"] == pytest.approx(0.6)
    assert rows["psta-tiny"]["speed"]["options"] == [["dim", 32]]
    (how,) = rows["psta-tiny"]["of"]
    assert (how["folder"], how["config"]["epochs"]) == (str(finished_run), 2)
    assert not any("failed" in row["speed"] for row in rows.values())
    assert "| frames | d | osnet_x0_25 | clips of 4 at 64 x 32 | 60.0 ± 14.1 |" in output.with_suffix(".md").read_text()
    assert output.with_suffix(".png").stat().st_size > 1000


def test_folders_without_a_report(tmp_path):
    with pytest.raises(UserError, match=r"has no report\.json"):
        compare.read_runs([tmp_path])
