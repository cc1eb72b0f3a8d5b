"""Contact sheets of an evaluation."""

from pathlib import Path

import numpy as np
from PIL import Image

from st_reid.config import EvalConfig, JointConfig
from st_reid.data.tracklet import Tracklet
from st_reid.drawing.sheet import QUERY, RIGHT, WRONG
from st_reid.evaluation import sheets
from st_reid.evaluation.rankings import fit_transit_times, rank_all


def picture(name):
    return [np.full((32, 16, 3), 128, np.uint8)]


def test_what_the_joint_metric_changed(network, tmp_path):
    train, pairs, features = network
    model = fit_transit_times(train, pairs, JointConfig())
    rankings = rank_all(pairs, *pairs.split(features), model, EvalConfig())
    matrices = rankings["appearance"].distances, rankings["joint"].distances
    sheets.changed_sheet(pairs, *matrices, picture, tmp_path / "changed.png", queries=4)
    tall = Image.open(tmp_path / "changed.png").height
    sheets.changed_sheet(pairs, matrices[0], matrices[0], picture, tmp_path / "same.png")  # nothing changed
    assert Image.open(tmp_path / "same.png").height < tall


def test_hits_are_framed_right_or_wrong(network, tmp_path, monkeypatch):
    _, pairs, features = network
    drawn = []
    monkeypatch.setattr(sheets, "draw_sheet", lambda title, rows, path, **_: drawn.extend(rows))
    ranking = rank_all(pairs, *pairs.split(features), None, EvalConfig())["appearance"]
    sheets.contact_sheet(pairs, ranking, lambda name: [name], Path(), queries=25, top=3)
    assert len(drawn) == 25
    person = dict(zip(pairs.gallery.tracklet.tolist(), pairs.gallery.person.tolist(), strict=True))
    camera = dict(zip(pairs.gallery.tracklet.tolist(), pairs.gallery.camera.tolist(), strict=True))
    first_right = 0
    for query, *hits in drawn:
        (asked,) = query.pictures
        assert query.color == QUERY
        assert len(hits) == 3
        for hit in hits:
            (found,) = hit.pictures
            assert hit.color == (RIGHT if person[found] == person[asked] else WRONG)
            assert person[found] != person[asked] or camera[found] != camera[asked], "junk"
        first_right += hits[0].color == RIGHT
    assert first_right / 25 == ranking.result.cmc[0]


def test_pictures_of_tracklets_are_their_first_middle_and_last_frames(tmp_path):
    paths = tuple(tmp_path / f"{i}.png" for i in range(5))
    for i, path in enumerate(paths):
        Image.new("RGB", (16, 32), (i, 0, 0)).save(path)
    pictures = sheets.pictures_of_tracklets([Tracklet("t", paths, "p", "c")])
    assert [int(frame[0, 0, 0]) for frame in pictures("t")] == [0, 2, 4]
