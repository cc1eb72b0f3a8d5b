"""One table of several models on several datasets, each pair as the evaluate command alone has it."""

import json
from dataclasses import replace

import pytest
import torch
from html_reader import Page
from small_data import write_dataset

from st_reid import across, evaluate
from st_reid.data.datasets.manifest import read_rows, write_rows
from st_reid.evaluation.pages import write_page
from st_reid.torchreid_compat import model_factory

HOW = [
    "--arch",
    "osnet_x0_25",
    "--height",
    "32",
    "--width",
    "32",
    "--data.workers",
    "0",
    "--precision",
    "float32",
    "--eval.sheet_queries",
    "1",
]


ALSO = ["--eval.also", "clothes_changing"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two files of random weights. Read only."""
    folder = tmp_path_factory.mktemp("weights")
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(
            {"state_dict": model_factory()["osnet_x0_25"](3, pretrained=False).state_dict()}, folder / f"w{seed}.pth"
        )
    return [str(folder / f"w{seed}.pth") for seed in (0, 1)]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two datasets, with clothes that follow the camera. Read only."""
    found = []
    for name, persons in (("street", 3), ("lobby", 4)):
        folder = tmp_path_factory.mktemp("data") / name
        folder.mkdir()
        write_dataset(folder, persons=persons, frames=1)
        write_rows(folder, [replace(row, clothes=f"{row.person} {row.camera}") for row in read_rows(folder)])
        found.append(f"manifest={folder}")
    return found


def run(weights, sources, output, *more):
    across.main(["--weights", *weights, "--sources", *sources, "--output", str(output), *HOW, *more])
    return json.loads((output / "across.json").read_text())


@pytest.fixture(scope="module")
def table(weights, roots, tmp_path_factory):
    """The folder of a table that a second call has completed; the first one's report is older than it is. Read only."""
    output = tmp_path_factory.mktemp("tables") / "table"
    first = run(weights[:1], roots[:1], output, *ALSO)
    assert [(c["model"], c["dataset"], c["protocol"]) for c in first["cells"]] == [
        ("w0", "manifest-street", "standard"), ("w0", "manifest-street", "clothes_changing")
    ]  # fmt: skip
    done = output / "w0__manifest-street" / "report.json"
    before = done.stat().st_mtime_ns
    run(weights[1:], roots[1:], output, *ALSO)
    run(weights[:1], roots[:1], output, *ALSO)
    assert done.stat().st_mtime_ns == before
    return output


def test_a_table_is_what_evaluate_says_of_every_pair(table, weights, roots, tmp_path):
    content = json.loads((table / "across.json").read_text())
    assert len(content["cells"]) == 2 * 2, "with what every call has done"
    alone = tmp_path / "alone"
    root = roots[1].partition("=")[2]
    evaluate.main(["--weights", weights[1], "--sources", "manifest", "--root", root, "--output", str(alone), *HOW])
    expected = json.loads((alone / "report.json").read_text())["appearance"]
    assert content["cells"][2] == {
        "model": "w1", "dataset": "manifest-lobby", "folder": "w1__manifest-lobby", "protocol": "standard",
        "appearance": expected,
    }  # fmt: skip

    by_datasets, figures = (table / "table.md").read_text().split("\n\n")
    head, _, *rows = by_datasets.splitlines()
    assert head.startswith("| mAP / rank-1 | manifest-street | manifest-street, clothes_changing | manifest-lobby |")
    said = f"{100 * expected['mAP']:.1f} / {100 * expected['rank1']:.1f}"
    assert rows[1].startswith(f"| w1 |  |  | {said} | ")
    assert len(figures.splitlines()) == 2 + 4
    page = Page(write_page(table, tmp_path / "page.html").read_text())
    assert page.tables["Models by datasets"][2][3] == said


def test_what_would_mix_tables_up_is_refused(table, weights, roots, tmp_path, command_error, monkeypatch):
    def refused(*argv):
        return command_error(across.main, [*argv, *HOW, *ALSO], monkeypatch)

    one = ["--sources", roots[0], "--output", str(table)]
    assert "holds a table with another seed; pass" in refused("--weights", weights[0], *one, "--seed", "1")
    assert "another eval" in refused("--weights", weights[0], *one, "--eval.ap", "trapezoid")
    other = tmp_path / "w0.pth"
    other.write_bytes(b"other weights of the same name")
    assert "holds a table with another w0" in refused("--weights", str(other), *one)
    assert "two of the weights are called w0" in refused("--weights", weights[0], str(other), *one)
    new = ["--sources", roots[0], "--output", str(tmp_path)]
    assert "exists and holds no table; pass another --output" in refused("--weights", weights[0], *new)
    missing = ["--weights", str(tmp_path / "none.pth"), "--sources", roots[0], "--output", str(tmp_path / "new")]
    assert "none.pth does not exist" in refused(*missing)
    monkeypatch.setenv("RANK", "0")
    assert "across runs as one process" in refused("--weights", weights[0], *one)
