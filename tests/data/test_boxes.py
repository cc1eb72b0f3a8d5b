"""Files of boxes as trackers and annotation tools write them, against the same boxes in MOT's format."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from st_reid.config import BoxesConfig
from st_reid.data.boxes import VideoInfo, read_boxes
from st_reid.errors import UserError

CASES = Path(__file__).parent / "trackers"
PETS = VideoInfo(480, 360, 60, 10.0)
OTHER = VideoInfo(1280, 720)


def lines_of(name="bytetrack.txt"):
    return (CASES / name).read_text().splitlines()


def as_array(boxes):
    """Return rows of frame, track, left, top, width, height."""
    rows = [(frame, *box) for frame, found in boxes.by_frame.items() for box in found]
    return np.array(sorted(rows), dtype=float)


@pytest.fixture(scope="module")
def expected():
    rows = [[float(v) for v in line.split(",")[:6]] for line in lines_of()]
    return np.array(sorted(rows))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("bytetrack.txt", "mot"),
        ("header.csv", "mot"),
        ("kitti.txt", "kitti"),
        ("cvat_video.xml", "cvat"),
        ("ultralytics_labels", "ultralytics"),
    ],
)
def test_the_same_boxes_in_every_format(name, form, expected, caplog):
    with caplog.at_level("INFO"):
        boxes = read_boxes(CASES / name, None, PETS)
    assert boxes.format == form
    assert f"147 boxes in 58 frames, read as {form}" in caplog.text
    assert "WARNING" not in caplog.text
    np.testing.assert_allclose(as_array(boxes), expected, atol=1e-3)


def written(tmp_path, lines, name="boxes.txt"):
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path / name


def changed(change):
    """Return the lines of MOT's file, each as ``change`` makes it of its fields."""
    return [change(*line.split(",")) for line in lines_of()]


@pytest.mark.parametrize(
    "change",
    [
        lambda *f: ";".join(f),
        lambda *f: ";".join(v.replace(".", ",") for v in f),
        lambda *f: "\t".join(f),
        lambda *f: " ".join(f[:6]),
        lambda f, t, *r: ",".join([f"{f}.0", f"{t}.0", *r]),
        lambda *f: ",".join([*f[:6], "1", "1", "0.8"]),  # MOT's ground truth, and boxmot
    ],
)
def test_ways_to_write_mot(change, expected, tmp_path):
    file = written(tmp_path, ["# a comment", "", *changed(change)])
    np.testing.assert_allclose(as_array(read_boxes(file, None, PETS)), expected, atol=1e-9)


def corners_of(fields):
    left, top, width, height = (float(v) for v in fields[2:6])
    return [*fields[2:4], f"{left + width:.6f}", f"{top + height:.6f}"]


@pytest.mark.parametrize(
    ("header", "change"),
    [
        ("Frame, ID, BB_Left, BB_Top, BB_Width, BB_Height, Conf, X, Y, Z", lambda *f: ",".join(f)),
        ("track_id,frame,x,y,w,h", lambda *f: ",".join([f[1], f[0], *f[2:6]])),
        ("frame,id,x1,y1,x2,y2", lambda *f: ",".join([*f[:2], *corners_of(f)])),
        ("frame;id;conf;xmin;ymin;xmax;ymax", lambda *f: ";".join([*f[:2], "0.9", *corners_of(f)]).replace(".", ",")),
        (",frame,id,left,top,width,height,class", lambda *f: ",".join(["0", *f[:6], "person"])),  # from pandas
        ("frame\tid\tleft\ttop\twidth\theight\tscore", lambda *f: "\t".join([*f[:6], ""])),
        ('"frame","id","left","top","width","height"', lambda *f: ",".join(f'"{v}"' for v in f[:6])),
    ],
)
def test_a_header_says_where_the_columns_are(header, change, expected, tmp_path):
    file = written(tmp_path, [header, *changed(change)])
    np.testing.assert_allclose(as_array(read_boxes(file, None, PETS)), expected, atol=1e-5)


def test_x_and_y_beside_corners_may_be_the_centre(tmp_path):
    file = written(tmp_path, ["frame,id,x,y,w,h,x1,y1,x2,y2", "1,4,60,110,20,60,50,80,70,140"])
    assert read_boxes(file).by_frame == {1: [(4, 50, 80, 20, 60)]}


def test_a_header_without_known_names_is_in_the_order_of_mot(expected, tmp_path, caplog):
    file = written(tmp_path, ["a,b,c,d,e,f", *changed(lambda *f: ",".join(f[:6]))])
    np.testing.assert_allclose(as_array(read_boxes(file, None, PETS)), expected)
    assert "columns 'a,b,c,d,e,f' are taken in MOT's order" in caplog.text


@pytest.mark.parametrize(
    "change", [str.upper, lambda line: line.replace(",", ";"), lambda line: line.replace(",", ", ")]
)
def test_supervisions_table_in_other_writings(change, tmp_path):
    header, *lines = lines_of("supervision_csv_sink.csv")
    separator = ";" if ";" in change(",") else ","
    file = written(tmp_path, [change(header), *(line.replace(",", separator) for line in lines)])
    boxes = read_boxes(file, None, OTHER)
    assert (boxes.format, len(boxes), boxes.dropped) == ("supervision-csv", 22, {"of no track yet": 377})


def test_the_folder_of_a_run_of_ultralytics(expected, tmp_path):
    shutil.copytree(CASES / "ultralytics_labels", tmp_path / "track" / "labels")
    np.testing.assert_allclose(as_array(read_boxes(tmp_path / "track", None, PETS)), expected, atol=1e-3)


def test_classes_are_persons_unless_others_are_asked_for(tmp_path, expected, caplog):
    lines = changed(lambda *f: ",".join([*f[:6], "1", "1" if int(f[1]) % 2 else "3", "0.8"]))
    file, odd = written(tmp_path, lines), expected[expected[:, 1] % 2 == 1]
    np.testing.assert_allclose(as_array(read_boxes(file)), odd)
    assert f"dropped {len(expected) - len(odd)} boxes of other classes" in caplog.text
    np.testing.assert_allclose(as_array(read_boxes(file, BoxesConfig(classes=["1", "3"]))), expected)
    with pytest.raises(UserError, match=r"147 of other classes; pass --classes; .*'1', '3'"):
        read_boxes(file, BoxesConfig(classes=["bicycle"]))


def test_frames_from_zero(tmp_path, expected):
    lines = changed(lambda f, *r: ",".join([str(int(f) - 1), *r]))
    file = written(tmp_path, lines)
    with pytest.raises(UserError, match="line 1: frame 0, and the video's first is 1; pass --first-frame 0"):
        read_boxes(file)
    np.testing.assert_allclose(as_array(read_boxes(file, BoxesConfig(first_frame=0))), expected)
    later = written(tmp_path, [line for line in lines if int(line.split(",")[0]) > 8], "silent.txt")
    kept = expected[expected[:, 0] > 9]
    np.testing.assert_allclose(as_array(read_boxes(later, BoxesConfig(first_frame=0))), kept)


def test_confidence(tmp_path, expected, caplog):
    none = written(tmp_path, changed(lambda *f: ",".join([*f[:6], "0", "0", "0", "0"])))
    with pytest.raises(UserError, match="147: 147 of confidence 0; pass --min-confidence 0 to keep them"):
        read_boxes(none)
    np.testing.assert_allclose(as_array(read_boxes(none, BoxesConfig(min_confidence=0))), expected)
    unknown = written(tmp_path, changed(lambda *f: ",".join([*f[:6], "-1", "-1", "-1", "-1"])))
    assert len(read_boxes(unknown, BoxesConfig(min_confidence=0.9))) == len(expected)
    halves = written(tmp_path, changed(lambda *f: ",".join([*f[:6], "0.4" if f[1] == "1" else "0.6"])))
    assert len(read_boxes(halves, BoxesConfig(min_confidence=0.5))) == (expected[:, 1] != 1).sum()
    assert "boxes of confidence below 0.5" in caplog.text


def test_detections_are_no_tracks(tmp_path):
    file = written(tmp_path, changed(lambda f, t, *r: ",".join([f, "-1", *r])))
    with pytest.raises(UserError, match="147 of no track yet; these are detections, not tracks: run a tracker"):
        read_boxes(file)


@pytest.mark.parametrize(("name", "kept", "dropped"), [("supervision_csv_sink.csv", 22, 377),
                                                       ("supervision_json_sink.json", 14, 186)])  # fmt: skip
def test_supervisions_sinks(name, kept, dropped):
    boxes = read_boxes(CASES / name, None, OTHER)
    assert (len(boxes), boxes.dropped) == (kept, {"of no track yet": dropped})
    assert min(boxes.by_frame) >= 1


def test_boxes_of_no_size_are_dropped_or_named(caplog):
    boxes = read_boxes(CASES / "norfair_bad_boxes.txt", None, OTHER)
    assert (len(boxes), boxes.dropped) == (172, {"of no size, or not finite": 7})
    assert "dropped 7 boxes of no size, or not finite" in caplog.text
    with pytest.raises(UserError, match="line 16: a box of no size, or not finite; leave --strict out"):
        read_boxes(CASES / "norfair_bad_boxes.txt", BoxesConfig(strict=True), OTHER)


def test_corners_are_told_from_sizes(tmp_path, expected, caplog):
    def corners(frame, track, left, top, width, height, *rest):
        return f"{frame},{track},{left},{top},{float(left) + float(width)},{float(top) + float(height)},1"

    file = written(tmp_path, changed(corners))
    read_boxes(file, None, PETS)
    assert "% of the boxes leave the picture at its right or lower edge: are these corners" in caplog.text
    boxes = read_boxes(file, BoxesConfig(format="mot-corners"), PETS)
    np.testing.assert_allclose(as_array(boxes), expected, atol=1e-9)


def test_what_looks_wrong_is_said(tmp_path, caplog):
    flat = written(tmp_path, changed(lambda f, t, x, y, w, h, *r: f"{f},{t},{x},{y},{h},{w},1"))
    read_boxes(flat, None, PETS)
    assert "wider than high" in caplog.text
    caplog.clear()
    read_boxes(CASES / "bytetrack.txt", None, VideoInfo(480, 360, 795))
    assert "the last box is in frame 60, and the video has 795" in caplog.text


def test_outside_boxes_of_cvat(tmp_path, expected):
    text = (CASES / "cvat_video.xml").read_text().replace('outside="0"', 'outside="1"', 5)
    (tmp_path / "c.xml").write_text(text)
    boxes = read_boxes(tmp_path / "c.xml")
    assert (len(boxes), sum(boxes.dropped.values())) == (len(expected) - 5, 5)


def test_a_sure_box_without_a_track_is_not_track_1(tmp_path):
    (tmp_path / "v_1.txt").write_text("0 0.5 0.5 0.1 0.2 0.9 1\n0 0.2 0.5 0.1 0.2 1\n")
    (box,) = read_boxes(tmp_path, None, PETS).by_frame[1]
    assert (box.track, round(box.left)) == (1, 216)


@pytest.mark.parametrize("track", ["nan", "inf", "1.5"])
def test_a_track_that_is_no_number_is_none(track, tmp_path):
    (tmp_path / "v_1.txt").write_text(f"0 0.5 0.5 0.1 0.2 7\n0 0.2 0.5 0.1 0.2 {track}\n")
    boxes = read_boxes(tmp_path, None, PETS)
    assert ([box.track for box in boxes.by_frame[1]], dict(boxes.dropped)) == ([7], {"of no track yet": 1})


def test_shares_need_the_size_of_the_picture(tmp_path):
    with pytest.raises(UserError, match="boxes are shares of the picture, and the video does not say its size"):
        read_boxes(CASES / "ultralytics_labels")
    shutil.copytree(CASES / "ultralytics_labels", tmp_path / "empty", ignore=lambda *_: _[1])
    with pytest.raises(UserError, match="no files such as VIDEO_1"):
        read_boxes(tmp_path / "empty", None, PETS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no boxes"),
        ("1,2,three,4,5,6", "line 1: '1,2,three,4,5,6' is no box"),
        ("1,1,0,0,5,5\n1,1,0,0,5,5", "track 1 stands in frame 1 twice"),
        ("1.5,1,0,0,5,5", "expected whole numbers"),
        ("<annotations><track id='1'><box/></track></annotations>", "is no track file of CVAT"),
        (
            "<annotations><image id='0'/></annotations>",
            "images without tracks; export the task as 'CVAT for video 1.1'",
        ),
        ("frame,id,cx,cy,w,h\n1,1,5,5,5,5", "columns frame, id, cx, cy, w, h; expected frame, id, left, top, and"),
        ("<annotations", "is no track file of CVAT"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "is no track file of CVAT"),
        ("[1, 2]", "expected a list of boxes"),
        ("[{}]", "row 1: .*expected x_min"),
        ("{", "cannot be read as JSON"),
        ("x_min,y_min,x_max,y_max,tracker_id,frame_index\n1,2,x,4,1,0", "row 1: could not convert"),
    ],
)
def test_what_is_no_file_of_boxes(text, message, tmp_path):
    (tmp_path / "boxes.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_boxes(tmp_path / "boxes.txt")


def test_many_boxes_take_time_in_proportion(tmp_path):
    """Every box was compared with all of its frame before: here that would be two billion comparisons."""
    file = written(tmp_path, [f"{1 + i // 60000},{i % 60000},1,1,5,9,1" for i in range(60_000)])
    assert len(read_boxes(file)) == 60_000
