"""Pages of everything that commands leave: whole, self-contained, and with the figures in them."""

import json
from html.parser import HTMLParser

import pytest

from st_reid import report
from st_reid.errors import UserError
from st_reid.html import write_page

VOID = {"meta", "img", "input"}


class Reader(HTMLParser):
    """Checks that elements nest, and collects text and sources."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.sources = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


def read(path):
    reader = Reader()
    reader.feed(path.read_text())
    assert not reader.open
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources), "it is self-contained"
    return reader


def figures(value):
    row = dict.fromkeys(("rank1", "rank5", "rank10", "mAP", "mINP"), value)
    return row | {"interval95": {"mAP": [value - 0.1, value + 0.1], "rank1": [0, 1]}, "num_valid": 3}


RUN = {
    "arch": "psta",
    "dataset": "<walkers>",
    "protocol": {"junk": "same_camera", "ap": "step", "frames": "clips of 4"},
    "appearance": figures(0.5),
    "camera_mask": figures(0.6),
    "joint": figures(0.75)
    | {"over_camera_mask": {"rank1": 0.15, "mAP": 0.15, "interval95": {"rank1": [0, 0.3], "mAP": [0.1, 0.2]}}},
    "num_query": 3,
    "num_gallery": 9,
    "environment": {"torch": "2.15"},
    "best": "epoch 3",
}
FOUND = {
    "rank": 1,
    "tracklet": "t2",
    "camera": "b",
    "time": 5.0,
    "frames": 3,
    "person": "",
    "score": 0.9,
    "cosine": 0.9,
}
SEARCH = {
    "features": "f.npz", "tracklets": 5, "searched": 4, "ranked_by": "cosine similarity", "through": "exact search",
    "model": {"arch": "psta"},
    "queries": [{"query": {"tracklet": "t1"}, "found": [FOUND | {"decision": "same"}]}],
}  # fmt: skip
CALIBRATION = {
    "same": 0.8, "unsure": 0.5, "false_accept_rate": 0.01, "interval95": [0.7, 0.85],
    "about": {"pairs_of_one_person": 4, "pairs_of_two": 9, "features": "f.npz"},
    "tar_at_far": {"0.01": {"tar": 0.5, "threshold": 0.8}, "0.001": None},
    "open_set": {"found": 0.8, "missed": 0.1, "wrong": 0.1, "false_alarms": 0.25, "queries": 7},
}  # fmt: skip
COUNTS = {"tracklets": 3, "persons": 2, "cameras": {"a": 3}, "frames": 9,
          "frames_a_tracklet": {"least": 1, "median": 3.0, "most": 5}}  # fmt: skip
CHECK = {
    "dataset": "manifest", "splits": {"train": COUNTS}, "together": COUNTS, "failures": ["train: no"],
    "images": {"tiny": {"count": 1, "for_example": ["x.jpg"]}, "median_size": "64 x 32"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("report.json", RUN, ["psta on <walkers>", "75.0%", "+15.0", "epoch 3", "CMC curves"]),
        ("search.json", SEARCH, ["t1", "t2", "0.900", "same"]),
        ("report.json", CALIBRATION, ["0.800", "0.700 to 0.850", "too few pairs", "25.0%"]),
        ("check.json", CHECK, ["Check of manifest", "train: no", "1 / 3 / 5", "x.jpg"]),
    ],
)
def test_pages(name, content, said, tmp_path):
    (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "cmc.png").write_bytes(b"png")
    page = read(write_page(tmp_path))
    text = " ".join(page.text)
    for part in said:
        assert part in text
    assert len(page.sources) == 1


def test_the_command(tmp_path, caplog):
    (tmp_path / "search.json").write_text(json.dumps(SEARCH))
    (tmp_path / "config.yaml").write_text("epochs: 3\n")
    with caplog.at_level("INFO"):
        report.main([str(tmp_path), "--output", str(tmp_path / "page.html")])
    assert "epochs: 3" in " ".join(read(tmp_path / "page.html").text)


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
    with pytest.raises(UserError, match="cannot be read"):
        write_page(tmp_path)
