"""What is read: regular files only, of the expected form, or one line that names the file and the entry."""

import os
import socket
from textwrap import indent
from typing import TypedDict

import numpy as np
import pytest

from st_reid import cli
from st_reid.arrays import NUMBER, TEXT, WHOLE, Array, check_arrays, read_arrays
from st_reid.config import TrainConfig
from st_reid.errors import UserError
from st_reid.reading import Count, Finite, check_file, check_yaml, of_type, read_csv, read_json, read_text


class Row(TypedDict):
    """What the tests read."""

    name: str
    score: Finite
    frames: list[Count]


HINT = "write it again"


def refused(read, *needed):
    with pytest.raises(UserError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message
    for text in needed:
        assert str(text) in message
    return message


@pytest.fixture
def special(tmp_path):
    """Paths of what is no regular file, by its kind."""
    os.mkfifo(tmp_path / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)  # the path of a socket must be short
    listening.bind("socket")
    os.chdir(here)
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "pipe")
    yield {kind: tmp_path / kind for kind in ("pipe", "socket", "folder")} | {
        "device": "/dev/zero", "linked pipe": tmp_path / "linked"
    }  # fmt: skip
    listening.close()


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device", "linked pipe"])
def test_only_regular_files_are_opened(kind, special):
    path = type(special["pipe"])(special[kind])
    for read in (
        lambda: check_file(path),
        lambda: read_text(path),
        lambda: read_json(path, dict, HINT),
        lambda: list(read_csv(path)),
        lambda: read_arrays(path, ["a"], HINT),
    ):
        refused(read, path, f"is a {kind.split()[-1]}; expected a file")


def test_names_that_no_file_can_have(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(lambda: check_file(tmp_path / "none", HINT), "no file", "write it again")
    refused(lambda: check_file(tmp_path / "file" / "inside"), "no file")
    refused(lambda: check_file(tmp_path / "loop"), "cannot be read")
    refused(lambda: check_file(tmp_path / "a\0b"), "cannot be read")
    refused(lambda: check_file(tmp_path / ("n" * 5000)), "cannot be read")


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("", ["no JSON, or cut short"]),
        ('{"name": "a"', ["no JSON, or cut short"]),
        ('{"name": "a", "score": NaN, "frames": []}', ["no JSON"]),
        ('{"name": "a", "score": 1e400, "frames": []}', ["score", "out of range"]),
        ('{"name": "a", "score": ' + "9" * 5000 + ', "frames": []}', ["score", "out of range"]),
        ('{"name": "a", "score": 1, "frames": [' + "9" * 5000 + "]}", ["frames[0]", "out of range"]),
        ('{"name": "a", "score": 1, "frames": [1, -1]}', ["frames[1]", "expected int >= 0"]),
        ('{"name": "a", "score": 1, "frames": [1.5]}', ["frames[0]", "expected int, got float"]),
        ('{"name": 3, "score": 1, "frames": []}', ["name", "expected str, got int"]),
        ('{"name": "a", "frames": []}', ["missing required field score"]),
        ("[]", ["expected object, got array"]),
        ("[" * 10_000 + "]" * 10_000, ["expected object, got array"]),
        ('{"other": ' + "[" * 10_000 + "]" * 10_000 + "}", ["nested too deeply"]),
        ('{"name": "\\ud800", "score": 1, "frames": []}', ["no JSON"]),
    ],
)  # fmt: skip
def test_json_of_another_form(text, needed, tmp_path):
    path = tmp_path / "row.json"
    path.write_text(text)
    refused(lambda: read_json(path, Row, HINT), path, HINT, *needed)


def test_json_of_the_form(tmp_path):
    path = tmp_path / "row.json"
    path.write_text('\ufeff{"name": "a", "score": 1, "frames": [0, 7], "added later": null}')
    assert read_json(path, Row, HINT) == {"name": "a", "score": 1.0, "frames": [0, 7]}
    path.write_bytes(b'{"name": "\xff"}')
    refused(lambda: read_json(path, Row, HINT), path, "UTF-8")


def test_plain_values():
    good = {"name": "a", "score": 1, "frames": [1]}
    assert of_type(good, Row, "it", HINT) == good
    for name, value in (("score", float("nan")), ("score", float("inf")), ("frames", 1), ("name", None)):
        refused(lambda name=name, value=value: of_type(good | {name: value}, Row, "it", HINT), f"it, {name}", HINT)


@pytest.mark.parametrize(
    ("data", "needed"),
    [
        (b"a,c\n1,2\n", ["column b is missing"]),
        (b"", ["column a, b is missing"]),
        (b"a,b\n\xff,2\n", ["CSV in UTF-8"]),
        (b"a,b\n" + b"x" * 200_000 + b",2\n", ["CSV in UTF-8"]),
    ],
)
def test_csv_of_another_form(data, needed, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    refused(lambda: list(read_csv(path, ("a", "b"))), path, *needed)


def test_csv(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('\ufeffa,b\n1\n"2\n3",4,5\n')
    assert list(read_csv(path, ("a", "b"))) == [(2, {"a": "1", "b": ""}), (4, {"a": "2\n3", "b": "4"})]


FORM = {
    "names": Array(TEXT, ("N",)),
    "places": Array(WHOLE, ("N", 2)),
    "times": Array(NUMBER, ("N",), nan=True),
    "width": Array(NUMBER),
}
GOOD = {"names": np.array(["a", "b"]), "places": np.zeros((2, 2), int), "times": [np.nan, 1.0], "width": 1.5}


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"names": np.array([1, 2])}, ["names: int64", "expected texts"]),
        ({"names": np.array([["a"], ["b"]])}, ["names: shape (2, 1)", "expected (N)"]),
        ({"names": np.array(["a"])}, ["places: 2 along N; expected 1, as in names"]),
        ({"places": np.zeros((2, 3), int)}, ["places: 3 along 2; expected 2"]),
        ({"places": np.zeros((2, 2))}, ["places: float64", "expected whole numbers"]),
        ({"times": ["noon", "one"]}, ["times: <U4", "expected numbers"]),
        ({"times": [1.0, np.inf]}, ["times: inf at [1]", "expected finite"]),
        ({"times": np.array([1, 2], "datetime64[s]")}, ["times: datetime64"]),
        ({"width": np.nan}, ["width: nan at []"]),
        ({"width": [1.0]}, ["width: shape (1,)", "expected ()"]),
        ({"names": np.array(["a", "\ud800"])}, ["names: texts that cannot be encoded"]),
        ({"names": np.array([0x61, 0x7FFFFFFF], np.uint32).view("<U1")}, ["names: texts that cannot be encoded"]),
    ],
)
def test_arrays_of_another_form(change, needed):
    check_arrays(GOOD, FORM, "it", HINT)
    refused(lambda: check_arrays(GOOD | change, FORM, "it", HINT), "it, ", HINT, *needed)


def test_files_of_no_arrays(tmp_path):
    path = tmp_path / "it.npz"
    np.savez(path, a=np.arange(3))
    assert list(read_arrays(path, ["a"], HINT, ["b"])) == ["a"]
    refused(lambda: read_arrays(path, ["a", "b"], HINT), path, "b missing", HINT)
    np.savez(path, a=np.array([{}]))
    refused(lambda: read_arrays(path, ["a"], HINT), path, "cannot be read", HINT)
    np.save(tmp_path / "it.npy", np.arange(3))
    (tmp_path / "it.npy").rename(path)
    refused(lambda: read_arrays(path, ["a"], HINT), path, "cannot be read", HINT)


def laughs(levels, start="[1, 1, 1, 1, 1, 1, 1, 1, 1]"):
    """Return YAML of lists of nine aliases each, one in the other."""
    lines = [f"a0: &a0 {start}"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        laughs(9),
        laughs(9, start="text"),
        "a: &a [*a]",
        "a: &a {b: [*a]}",
        "[" * 60 + "]" * 60,
        "\n".join(" " * i + "a:" for i in range(3000)),
        "\n".join(["- 1"] * 30_000),
    ],
    ids=["lists", "texts", "itself", "itself below", "deep", "deep blocks", "long"],
)
def test_yaml_without_end(text, tmp_path):
    refused(lambda: check_yaml(text), "a YAML of more than")
    (tmp_path / "c.yaml").write_text(f"model:\n  options:\n    x:\n{indent(text, '      ')}\n")
    refused(lambda: cli.parse(TrainConfig, ["--config", str(tmp_path / "c.yaml")], "train"))
    if "\n" not in text:
        refused(lambda: cli.parse(TrainConfig, ["--model.options", f"{{x: {text.removeprefix('a: ')}}}"], "train"))


def test_yaml_with_a_few_aliases_and_text_that_is_none(tmp_path):
    for text in (laughs(3), "{", "a: *b", "plain words", "", "a: [1, 2", "\0"):
        check_yaml(text)
    (tmp_path / "c.yaml").write_text("data: &d {clips: 3}\nmodel: {options: {x: &a [1, 2], y: *a}}\n")
    config = cli.parse(TrainConfig, ["--config", str(tmp_path / "c.yaml")], "train")
    assert (config.data.clips, config.model.options) == (3, {"x": [1, 2], "y": [1, 2]})
