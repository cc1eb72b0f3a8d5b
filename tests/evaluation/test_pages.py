"""Pages of what the commands leave: whole, self-contained, and with the figures in them."""

import json
import shutil

import pytest
from html_reader import Page
from small_data import write_dataset, write_person
from small_runs import to_argv

from st_reid import calibrate, check, evaluate, report, search
from st_reid.errors import UserError
from st_reid.evaluation.pages import write_page
from st_reid.evaluation.report import rankings_in

EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def evaluated(every_split, tmp_path_factory):
    """The folder of an evaluation of features. Read only."""
    folder = tmp_path_factory.mktemp("pages") / "evaluated"
    evaluate.main(to_argv({"features": every_split, "output": folder}))
    return folder


@pytest.fixture(scope="module")
def calibrated(every_split, tmp_path_factory):
    """The folder of a calibration. Read only."""
    folder = tmp_path_factory.mktemp("pages") / "calibrated"
    calibrate.main(to_argv({"features": every_split, "output": folder, "far": 0.05, "samples": 20}))
    return folder


@pytest.fixture(scope="module")
def searched(every_split, calibrated, tmp_path_factory):
    """The folder of a search with a calibration. Read only."""
    folder = tmp_path_factory.mktemp("pages") / "searched"
    settings = {"features": every_split, "query": "all", "top": 3, "calibration": calibrated / "calibration.json"}
    search.main(to_argv({**settings, "output": folder, "device": "cpu"}))
    return folder


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """The folder of a check that found something to complain of. Read only."""
    folder = tmp_path_factory.mktemp("pages")
    root = folder / "dataset"
    root.mkdir()
    write_dataset(root)
    write_person(root / "images/p2c0/001.jpg", (9, 9, 9), 0, size=(12, 8))
    with pytest.raises(UserError, match="this would fail"):
        check.main([str(root), "--output", str(folder / "checked")])
    return folder / "checked"


def page_of(folder, tmp_path):
    """Write the page elsewhere, and read it: its pictures are those of the folder, all of them."""
    page = Page(write_page(folder, tmp_path / "page.html").read_text())
    pictures = [path.read_bytes() for path in (*folder.glob("*.png"), *folder.glob("plots/*.png"))]
    assert sorted(page.pictures.values()) == sorted(pictures)
    return page


def content_of(folder, name):
    return json.loads((folder / name).read_text())


def percent(share):
    return f"{100 * share:.1f}%"


@pytest.mark.parametrize("which", ["finished_run", "evaluated"])
def test_a_run_and_an_evaluation(which, request, tmp_path):
    folder = request.getfixturevalue(which)
    content, page = content_of(folder, "report.json"), page_of(folder, tmp_path)
    head, *rows = page.tables["Figures"]
    assert head == [*("ranking", "valid queries", "rank-1", "rank-5", "rank-10", "mAP", "mINP", "mAP, 95% interval")]
    rankings = rankings_in(content)
    assert {"appearance", "camera_mask", "joint"} <= set(rankings)
    assert [row[0] for row in rows] == [name.replace("_", " ") for name in rankings]
    for row, figures in zip(rows, rankings.values(), strict=True):
        assert row[1] == str(figures["num_valid"])
        assert row[2:7] == [percent(figures[key]) for key in ("rank1", "rank5", "rank10", "mAP", "mINP")]
        assert row[7] == " to ".join(map(percent, figures["interval95"]["mAP"]))
    gains = {"joint over camera_mask": content["joint"]["over_camera_mask"]}
    if which == "finished_run":
        gains["all frames over one frame"] = content["one_frame"]["appearance_over_this"]
        gains["frames in order over shuffled"] = content["shuffled"]["appearance_over_this"]
    (_, *shown) = page.tables["Gains"]
    assert [row[:3] for row in shown] == [
        [what, name, f"{100 * gain[key]:+.1f}"]
        for what, gain in gains.items()
        for name, key in (("rank-1", "rank1"), ("mAP", "mAP"))
    ]
    assert f"{content['arch']} on manifest" in page.texts
    assert f"{content['num_query']} queries, {content['num_gallery']} gallery tracklets" in page.text
    for said in content["protocol"].values():
        assert said in page.text
    assert {"CMC curves", "Contact sheet", "Transit times", "What where and when changed"} <= set(page.pictures)
    assert (folder / "config.yaml").read_text().strip() in page.texts


def test_what_only_a_run_has(finished_run, tmp_path):
    page = page_of(finished_run, tmp_path)
    about = dict(page.tables["The run"][1:])
    content = content_of(finished_run, "report.json")
    assert about["best"] == content["best"]
    assert (about["epochs"], about["seed"], about["trained on"]) == ("2", "0", "manifest")
    assert "Training" in page.pictures


def test_a_search(searched, tmp_path):
    content, page = content_of(searched, "search.json"), page_of(searched, tmp_path)
    head, *rows = page.tables["Found"]
    assert head == ["query", "rank", "tracklet", "camera", "time", "person", "score", "decision"]
    found = [(result["query"], row) for result in content["queries"] for row in result["found"]]
    assert len(rows) == len(found) == 48 * 3
    for row, (query, item) in zip(rows, found, strict=True):
        assert row == [
            query["tracklet"], str(item["rank"]), item["tracklet"], item["camera"], f"{item['time']:g}",
            item["person"], f"{item['score']:.3f}", item["decision"],
        ]  # fmt: skip
    assert len({row[7] for row in rows}) > 1, "decisions differ"
    assert "48 queries in 48 of 48 tracklets" in page.text
    assert "by cosine similarity, exact search" in page.text
    assert set(page.pictures) == {"Contact sheet"}


def test_a_calibration(calibrated, tmp_path):
    content, page = content_of(calibrated, "report.json"), page_of(calibrated, tmp_path)
    low, high = content["interval95"]
    assert page.tables["Thresholds"][1:] == [
        ["same from", f"{content['same']:.3f}", f"{low:.3f} to {high:.3f}"],
        ["unsure from", f"{content['unsure']:.3f}", ""],
    ]
    rates = {row[0]: row[1:] for row in page.tables["True accepts at false accepts"][1:]}
    at = content["tar_at_far"]["0.01"]
    assert rates["0.01"] == [percent(at["tar"]), f"{at['threshold']:.3f}"]
    assert rates["0.0001"] == ["too few pairs", ""]
    (queries, _), *shares = page.tables["Open set"]
    assert queries == "48 queries"
    keys = ("found", "wrong", "missed", "false_alarms")
    assert [row[1] for row in shares] == [percent(content["open_set"][key]) for key in keys]
    assert "24 pairs of one person and 1104 of two" in page.text
    assert set(page.pictures) == {"Similarities and ROC"}


def test_a_check(checked, tmp_path):
    content, page = content_of(checked, "check.json"), page_of(checked, tmp_path)
    assert "Check of manifest" in page.texts
    assert content["failures"] == ["train: 6 persons to train on, and a batch has 8; lower data.persons"]
    assert content["failures"][0] in page.texts
    rows = {row[0]: row[1:] for row in page.tables["Splits"][1:]}
    assert rows == {
        "train": ["12", "6", "2", "66", "5 / 5.5 / 6"],
        "query": ["6", "6", "1", "33", "5 / 5.5 / 6"],
        "gallery": ["12", "6", "2", "66", "5 / 5.5 / 6"],
        "together": ["12", "6", "2", "66", "5 / 5.5 / 6"],
    }
    images = {row[0]: row[1:] for row in page.tables["Images"][1:]}
    assert images["tiny"] == ["1", content["images"]["tiny"]["for_example"][0]]
    assert "p2c0/001.jpg (12 x 8)" in images["tiny"][1]
    assert images["unreadable"] == ["0", ""]
    assert set(page.pictures) == {"Contact sheet", "Lengths, cameras, sizes"}


@pytest.mark.parametrize(
    ("which", "name", "spoil"),
    [
        ("finished_run", "report.json", lambda content: content.update(dataset=EVIL)),
        ("searched", "search.json", lambda content: content["queries"][0]["found"][0].update(person=EVIL)),
        ("searched", "search.json", lambda content: content["queries"][0]["query"].update(tracklet=EVIL)),
        ("calibrated", "report.json", lambda content: content["about"].update(features=EVIL)),
        ("checked", "check.json", lambda content: content["failures"].append(EVIL)),
        ("checked", "check.json", lambda content: content["images"]["tiny"]["for_example"].append(EVIL)),
    ],
)
def test_names_are_never_taken_for_html(which, name, spoil, request, tmp_path):
    content = content_of(request.getfixturevalue(which), name)
    spoil(content)
    (tmp_path / name).write_text(json.dumps(content))
    html = write_page(tmp_path).read_text()
    assert EVIL in Page(html).text
    assert html.count("<script>") == 1, "its own"


def test_the_command(searched, tmp_path, caplog):
    folder = tmp_path / "searched"
    shutil.copytree(searched, folder)
    (folder / "config.yaml").write_text("epochs: 3\n")
    with caplog.at_level("INFO"):
        report.main([str(folder)])
        report.main([str(folder), "--output", str(tmp_path / "page.html")])
    assert (folder / "report.html").read_bytes() == (tmp_path / "page.html").read_bytes()
    assert str(folder / "report.html") in caplog.text
    assert "epochs: 3" in Page((tmp_path / "page.html").read_text()).texts
    report.main([str(folder)])  # its own page is written again


def test_no_other_file_is_written_over(tmp_path, command_error, monkeypatch):
    (tmp_path / "check.json").write_text("{}")
    (tmp_path / "precious.txt").write_text("mine")
    error = command_error(report.main, [tmp_path, "--output", tmp_path / "precious.txt"], monkeypatch)
    assert "precious.txt exists; pass another --output" in error
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert "has none of search.json" in command_error(report.main, [tmp_path], monkeypatch)


def test_a_folder_of_nothing(tmp_path):
    with pytest.raises(UserError, match=r"has none of search\.json"):
        write_page(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserError, match="is no JSON, or cut short"):
        write_page(tmp_path)


def test_a_file_is_no_folder_of_results(tmp_path):
    (tmp_path / "day.npz").touch()
    with pytest.raises(UserError, match=r"day.npz is a file; pass the folder of a run"):
        write_page(tmp_path / "day.npz")
