"""Files that are wrong: command, options, the content of {bad}/FILE, and what the line must contain."""

import json

HEAD = "split,tracklet,path,person,camera,time\n"
SUPERVISION = "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,frame_index\n"

BOXES = {
    "empty": (b"", "no boxes"),
    "spaces": (b"  \n\n", "no boxes"),
    "only a header": (b"frame,id,x,y,w,h\n", "no boxes"),
    "only comments": (b"# a\n# b\n", "no boxes"),
    "not UTF-8": (b"1,1,\xff\xfe,2,3,4\n", "cannot be read as text"),
    "NUL": (b"\x00\x00\x00\x00", "no boxes"),
    "words": (b"1,1,1,1,2,2\nhello world\n", "line 2"),
    "five numbers": (b"1,1,1,1,2\n", "line 1"),
    "frame 0": (b"0,1,1,1,9,9\n", "pass --first-frame 0"),
    "negative frame": (b"-3,1,1,1,9,9\n", "frame -3"),
    "half a frame": (b"1.5,1,1,1,9,9\n", "frame 1.5"),
    "half a track": (b"1,1.5,1,1,9,9\n", "track 1.5"),
    "a track twice": (b"1,1,1,1,9,9\n1,1,2,2,9,9\n", "twice"),
    "no tracks": (b"1,-1,1,1,9,9\n", "run a tracker"),
    "no width": (b"1,1,1,1,0,9\n", "no box is left"),
    "negative height": (b"1,1,1,1,9,-9\n", "no box is left"),
    "nan": (b"1,1,nan,1,9,9\n", "no box is left"),
    "inf": (b"1,1,1,1,inf,9\n", "no box is left"),
    "infinite frame": (b"inf,1,1,1,9,9\n", "no box is left"),
    "outside": (b"1,1,900,900,9,9\n", "no box of"),
    "after the end": (b"99,1,1,1,9,9\n", "no box of"),
    "JSON cut": (b'[{"x_min": 1', "cannot be read as JSON"),
    "JSON of a number": (b"[1]", "expected a list of boxes"),
    "JSON object": (b"{}", "expected a list of boxes"),
    "JSON row": (b'[{"x_min": 1}]', "row 1"),
    "JSON deep": (b"[" * 100_000, "cannot be read as JSON"),
    "JSON huge": (b'[{"x_min": 1e999, "y_min": 0, "x_max": 9, "y_max": 9, "tracker_id": 1, "frame_index": 0}]',
                  "no box is left"),
    "XML cut": (b"<annotations><track", "no track file of CVAT"),
    "XML entity": (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "no track file of CVAT"),
    "XML of something else": (b"<html></html>", "no boxes"),
    "XML without numbers": (b'<a><track id="0"><box frame="x" xtl="1" ytl="1" xbr="2" ybr="2"/></track></a>', "CVAT"),
    "XML without corners": (b'<a><track id="0"><box frame="0"/></track></a>', "CVAT"),
    "CSV without numbers": (SUPERVISION.encode() + b"a,b,c,d,0,1,1,0\n", "row 1"),
    "CSV cut": (SUPERVISION.encode() + b"1,2\n", "row 1"),
    "CSV of other classes": (SUPERVISION.encode() + b"1,1,9,9,7,1,1,0\n", "no box is left"),
    "KITTI cut": (b"0 1 Pedestrian 0 0 0 1 1 9 9 1 1 1 1 1 1 x\n", "line 1"),
}  # fmt: skip

IDENTITIES = {
    "empty": (b"", "track_id"),
    "other columns": (b"a,b\n1,2\n", "track_id"),
    "a word": (b"track_id,person_id\nx,ann\n", "line 2"),
    "half a track": (b"track_id,person_id\n1.5,ann\n", "line 2"),
    "infinite": (b"track_id,person_id\ninf,ann\n", "line 2"),
    "two persons": (b"track_id,person_id\n7,ann\n7,bob\n", "track 7 is 'bob', and was 'ann'"),
    "two ways to write one": (b"track_id,person_id\n7,ann\n7.0,bob\n", "track 7 is 'bob'"),
    "not UTF-8": (b"track_id,person_id\n7,\xff\n", "UTF-8"),
    "NUL": (b"track_id,person_id\n7,a\x00b\n", ""),
    "escape": (b"track_id,person_id\n7,a\x1bb\n", "person is"),
}

MANIFEST = {
    "empty": ("", "column"),
    "only a header": (HEAD, "no rows"),
    "no camera": ("split,tracklet,path,person,time\n", "camera"),
    "another split": (HEAD + "test,t,a.jpg,p,1,\n", "line 2: split is 'test'"),
    "a split twice": (HEAD + "query+query,t,a.jpg,p,1,\n", "line 2: split is 'query+query'"),
    "no split": (HEAD + ",t,a.jpg,p,1,\n", "line 2: split is ''"),
    "no name": (HEAD + "query,,a.jpg,p,1,\n", "line 2: tracklet is empty"),
    "no path": (HEAD + "query,t,,p,1,\n", "line 2: path is empty"),
    "a camera of a space": (HEAD + "query,t,a.jpg,p, ,\n", "line 2: camera is empty"),
    "a path outside": (HEAD + "query,t,../a.jpg,p,1,\n", "line 2: path '../a.jpg' leaves"),
    "an absolute path": (HEAD + "query,t,/etc/passwd,p,1,\n", "line 2: path '/etc/passwd' leaves"),
    "a drive": (HEAD + "query,t,C:\\a.jpg,p,1,\n", "line 2: path 'C:/a.jpg' leaves"),
    "a time of a word": (HEAD + "query,t,a.jpg,p,1,noon\n", "line 2: time is 'noon'"),
    "an infinite time": (HEAD + "query,t,a.jpg,p,1,inf\n", "line 2: time is 'inf'"),
    "two persons": (HEAD + "query,t,a.jpg,p,1,\nquery,t,b.jpg,q,1,\n", "tracklet 't' is person 'p'"),
    "two cameras": (HEAD + "query,t,a.jpg,p,1,\nquery,t,b.jpg,p,2,\n", "tracklet 't' is camera '1'"),
    "two splits": (HEAD + "query,t,a.jpg,p,1,\ngallery,t,b.jpg,p,1,\n", "tracklet 't' is split 'query'"),
    "a line in a name": (HEAD + 'query,"t\nu",a.jpg,p,1,\n', "tracklet is 't\\nu'"),
    "NUL": (HEAD + "query,t\0,a.jpg,p,1,\n", ""),
    "no image": (HEAD + "query+gallery,t,a.jpg,p,1,\n", "a.jpg"),
}

CONFIGS = {
    "a list": ("- 1", ""),
    "a word": ("hello", ""),
    "cut": ("arch: [", ""),
    "an unknown name": ("epoch: 3", "unknown setting 'epoch'"),
    "a word for a number": ("epochs: soon", "epochs is soon"),
    "null": ("seed: null", "seed is null"),
    "an unknown group": ("optimm: {lr: 1}", "optimm"),
    "an unknown name in a group": ("optim: {lrr: 1}", "unknown setting 'optim.lrr'"),
    "a group of a number": ("optim: 3", "optim is 3"),
    "an object": ("arch: !!python/object/apply:os.system ['true']", "python/object"),
    "NUL": ('root: "a\\0b"', "root is a\\0b"),
    "an empty text": ("arch: ''", "arch is empty"),
    "a tab": ("epochs:\t\t3\n\tseed: 1", ""),
    "debug": ("debug: true", "debug stands in a file"),
    "import": ("import: os", "import stands in a file"),
    "a negative": ("seed: -1", "seed is -1"),
    "a huge number": (f"seed: {2**64}", f"seed is {2**64}"),
}

CALIBRATIONS = {
    "empty": "",
    "cut": '{"same": 0.5',
    "a list": "[]",
    "a number": "3",
    "nothing": "{}",
    "nan": '{"same": NaN, "unsure": NaN, "false_accept_rate": 0.1, "about": {"fingerprint": "abc"}}',
    "a word": '{"same": "x", "unsure": 0.1, "false_accept_rate": 0.1, "about": {"fingerprint": "abc"}}',
    "turned": '{"same": 0.1, "unsure": 0.5, "false_accept_rate": 0.1, "about": {"fingerprint": "abc"}}',
    "about": '{"same": 0.5, "unsure": 0.1, "false_accept_rate": 0.1, "about": 3}',
    "another model": '{"same": 0.5, "unsure": 0.1, "false_accept_rate": 0.1, "about": {"fingerprint": "other"}}',
    "deep": "[" * 100_000,
    "more": '{"same": 0.5, "unsure": 0.1, "false_accept_rate": 0.1, "about": {}, "x": 1}',
}

REPORTS = {"empty": "", "cut": '{"queries": [', "a list": "[]", "a number": "3", "deep": "[" * 100_000,
           "not its form": '{"queries": 3}', "a row": '{"queries": [{}]}', "not UTF-8": b"\xff\xfe"}  # fmt: skip

BINARY = {"empty": b"", "a text": b"hello", "zeros": bytes(1000), "a zip without anything": b"PK\5\6" + bytes(18),
          "half a zip": b"PK\3\4" + bytes(50), "a pickle that runs": b"cos\nsystem\n(S'true'\ntR.",
          "a PNG": b"\x89PNG\r\n\x1a\n", "Parquet's name only": b"PAR1PAR1"}  # fmt: skip


def rows():
    """Yield command, options, file, content, and what must be said."""
    for what, (content, says) in BOXES.items():
        yield "tracklets", "--tracks={bad}/t.txt", "t.txt", content, says, f"boxes: {what}"
    for what, (content, says) in IDENTITIES.items():
        yield "tracklets", "--identities={bad}/i.csv", "i.csv", content, says, f"identities: {what}"
    for what, (content, says) in MANIFEST.items():
        if what != "no image":  # which check reports in its folder
            yield "check", "--root={bad}", "manifest.csv", content, says, f"manifest: {what}"
    for command in ("train", "extract"):
        for what in ("empty", "two persons", "a path outside", *["no image"] * (command == "extract")):
            yield command, "--root={bad}", "manifest.csv", *MANIFEST[what], f"manifest: {what}"
    for what, (content, says) in CONFIGS.items():
        yield "train", "--config={bad}/c.yaml", "c.yaml", content, says, f"config: {what}"
    for what, content in CALIBRATIONS.items():
        yield "search", "--calibration={bad}/c.json", "c.json", content, "c.json", f"calibration: {what}"
        yield (
            "group",
            "--threshold=null --calibration={bad}/c.json",
            "c.json",
            content,
            "c.json",
            f"calibration: {what}",
        )
    for name in ("search.json", "report.json", "check.json"):
        for what, content in REPORTS.items():
            if name == "search.json" or not json.dumps(str(content)).count("queries"):
                yield "report", "--folder={bad}", name, content, "{bad}", f"{name}: {what}"
    for what, content in BINARY.items():
        for command, option, name in (
            ("evaluate", "--weights={bad}/b.pth", "b.pth"),
            ("extract", "--weights={bad}/b.safetensors", "b.safetensors"),
            ("export", "--weights={bad}/b.pth", "b.pth"),
            ("search", "--features={bad}/b.npz", "b.npz"),
            ("group", "--features={bad}/b.parquet", "b.parquet"),
            ("calibrate", "--features={bad}/b.npz", "b.npz"),
            ("search", "--transit-times={bad}/b.npz", "b.npz"),
            ("tracklets", "--video={bad}/b.avi", "b.avi"),
            ("search", "--query={bad}/b.jpg --weights={good}/weights.pth", "b.jpg"),
        ):
            yield command, option, name, content, name, f"{name}: {what}"
