"""walkers: deterministic, whole or not at all, and made as its page says."""

import hashlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from st_reid.data.datasets import read_dataset, walkers
from st_reid.data.datasets._walkers.cameras import MARKS, TRANSIT
from st_reid.data.datasets._walkers.people import GAIT_RANGES, make_people
from st_reid.data.datasets.manifest import read_folder, read_rows
from st_reid.data.datasets.walkers import CHANGED, FULL, Size, make, plans
from st_reid.errors import UserError
from st_reid.evaluation.baselines import color_histogram
from st_reid.files import PARTIAL

TINY = Size(train=4, test=4, distractors=2, frames=(3, 4))
MAKE = (
    "import sys; from pathlib import Path; from st_reid.data.datasets.walkers import Size, make; "
    "make(Path(sys.argv[1]), 0, Size({size}))"
)


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {str(p.relative_to(folder)): cv2.imread(str(p)) for p in sorted(folder.rglob("*.jpg"))}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("walkers") / "tiny"
    make(folder, 0, TINY)
    return folder


def test_same_seed_same_pixels(tiny, tmp_path):
    make(tmp_path / "again", 0, TINY)
    first, second = pixels(tiny), pixels(tmp_path / "again")
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert (tiny / "manifest.csv").read_bytes() == (tmp_path / "again" / "manifest.csv").read_bytes()


def test_other_seed_other_pixels(tiny, tmp_path):
    make(tmp_path / "other", 1, Size(train=1, test=0, distractors=0, frames=(3, 3)))
    first, other = pixels(tiny), pixels(tmp_path / "other")
    assert not any(np.array_equal(a, b) for a, b in itertools.product(first.values(), other.values()))


def test_the_standard_walkers_are_as_they_were(tiny):
    """Hashes of what the first version drew. Pixels depend on the versions of OpenCV; what is drawn does not."""
    drawn = hashlib.sha256(repr([replace(plan, passing=None) for plan in plans(0, TINY)]).encode()).hexdigest()
    assert drawn[:16] == "92e6248c466df7a7"
    content = b"".join(image.tobytes() for image in pixels(tiny).values())
    if cv2.__version__ == "5.0.0":
        assert hashlib.sha256(content).hexdigest()[:16] == "3a429a7e393b5200"


def test_changed_clothes_keep_body_and_gait():
    kept = {p.name: p for p in plans(0, FULL)}
    changed = list(plans(0, CHANGED))
    by_person = {}
    for plan in changed:
        by_person.setdefault(plan.person.index, []).append(plan.person)
    same = [(p, kept[p.name]) for p in changed if p.person.index < FULL.train]
    assert len(same) > 300
    assert all((a.person.body, a.person.gait, a.passing) == (b.person.body, b.person.gait, b.passing) for a, b in same)
    for persons in by_person.values():
        assert len({(p.body, p.gait) for p in persons}) == 1
        assert len({p.look for p in persons}) == len(persons)
        assert {p.look.hair for p in persons} == {"cap"}
    assert min(p.frames for p in changed) > GAIT_RANGES[0][1]  # every period is seen whole


def test_frames(tiny):
    images = pixels(tiny)
    assert {image.shape for image in images.values()} == {(128, 64, 3)}
    assert all(image.std() > 10 for image in images.values())
    for plan in plans(0, TINY):
        frames = [images[f"{plan.name}/{t + 1:04d}.jpg"].astype(int) for t in range(plan.frames)]
        assert all(np.abs(a - b).mean() > 2 for a, b in itertools.pairwise(frames))  # they walk


def test_reads_as_a_dataset(tiny):
    data = read_folder(tiny, "walkers")
    assert {t.person for t in data.train} == {"0001", "0002", "0003", "0004"}
    assert {t.person for t in data.query} == {"0005", "0006", "0007", "0008"}
    assert {t.person for t in data.gallery} == {"0005", "0006", "0007", "0008", "0009", "0010"}
    assert set(data.query) <= set(data.gallery)
    assert all(t.time is not None for t in data.train + data.gallery)
    times = [r.time for r in read_rows(tiny) if r.tracklet == data.train[0].name]
    assert np.diff(times).tolist() == [1] * (len(times) - 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_protocol_of_the_full_size(seed):
    tracklets = list(plans(seed))
    train = {p.person.index for p in tracklets if p.split == "train"}
    gallery = [p for p in tracklets if "gallery" in p.split]
    queries = [p for p in gallery if "query" in p.split]
    assert len({p.name for p in tracklets}) == len(tracklets)
    assert train.isdisjoint(p.person.index for p in gallery)
    assert len(queries) == 2 * FULL.test
    assert len({p.person.index for p in gallery} - {p.person.index for p in queries}) == FULL.distractors
    for q in queries:
        assert any(g.person is q.person and g.passing.camera != q.passing.camera for g in gallery)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_transit_times_tell_the_pairs_of_cameras_apart(seed):
    between: dict[tuple[int, int], list[int]] = {}
    by_person: dict[int, list] = {}
    for plan in plans(seed):
        by_person.setdefault(plan.person.index, []).append(plan.passing)
    for a, b in (pair for p in by_person.values() for pair in itertools.combinations(p, 2)):
        if a.camera != b.camera:
            between.setdefault(tuple(sorted((a.camera, b.camera))), []).append(abs(a.time - b.time))
    assert len(between) == 10
    means = sorted(float(np.mean(times)) for times in between.values())
    assert np.diff(means).min() > 5000
    assert max(float(np.std(times)) for times in between.values()) < 1200


def test_places_of_the_cameras_lie_differently_far_apart():
    distances = [b - a for a, b in itertools.combinations(MARKS, 2)]
    assert len(set(distances)) == len(distances)
    assert TRANSIT > 5000


def test_look_alikes():
    people = make_people(0, FULL.train, FULL.test, FULL.distractors)
    assert [p.index for p in people] == list(range(len(people)))
    for split in ("train", "test"):
        kinds = [p.twin_kind for p in people if p.split == split]
        assert kinds.count("body") >= 12
        assert kinds.count("gait") >= 10
        assert kinds.count("") >= 40
    for p in people:
        if p.twin is None:
            continue
        twin = people[p.twin]
        assert (twin.twin, twin.split, twin.look) == (p.index, p.split, p.look)
        assert abs(twin.gait.period - p.gait.period) > 5
        assert (twin.body == p.body) == (twin.bag == p.bag) == (p.twin_kind == "gait")
    assert len({p.look for p in people}) == len(people) - sum(p.twin is not None for p in people) // 2


def test_killed_in_the_middle_leaves_nothing_half_made(tmp_path):
    folder = tmp_path / "w"
    code = MAKE.format(size="40, 0, 0, (24, 24)")
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: any(tmp_path.rglob("*.jpg")))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not folder.exists()
    assert any(PARTIAL in p.name for p in tmp_path.iterdir())
    make(folder, 0, TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    assert len(read_folder(folder, "walkers").query) == 8


def test_interrupted_by_the_keyboard(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(walkers, "write_rows", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "w", 0, TINY)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_at_once(tiny, tmp_path):
    folder = tmp_path / "w"
    code = MAKE.format(size="4, 4, 2, (3, 4)")
    both = [subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.PIPE) for _ in range(2)]
    drawn = 0
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        drawn += b"tracklet/s" in errors
    assert drawn == 1, "the other one waits for it"
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    assert pixels(folder).keys() == pixels(tiny).keys()


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class TestRead:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        draw = walkers._draw
        monkeypatch.setattr(walkers, "_draw", lambda folder, seed, size: draw(folder, seed, TINY))

    def test_cache_folder(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setenv("ST_REID_CACHE", str(tmp_path / "cache"))
        with caplog.at_level(logging.INFO):
            data = read_dataset("walkers", options={"seed": 3})
        assert data.name == "walkers"
        folder = tmp_path / "cache" / f"walkers-{walkers.VERSION}-seed3"
        assert data.train[0].paths[0].parent.parent == folder
        assert [str(folder) in r.message for r in caplog.records] == [True]
        before = folder.stat().st_mtime_ns
        assert read_dataset("walkers", options={"seed": 3}) == data
        assert folder.stat().st_mtime_ns == before

    @pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files")
    def test_nobody_else_writes_into_the_cache(self, tmp_path, monkeypatch):
        cache = tmp_path / "cache"
        monkeypatch.setenv("ST_REID_CACHE", str(cache))
        read_dataset("walkers")
        assert cache.stat().st_mode & 0o777 == 0o700
        cache.chmod(0o777)
        read_dataset("walkers")
        assert cache.stat().st_mode & 0o777 == 0o755

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
    def test_a_cache_of_another_user(self, tmp_path, monkeypatch):
        cache = tmp_path / "cache"
        monkeypatch.setenv("ST_REID_CACHE", str(cache))
        cache.mkdir()
        os.chown(cache, 12345, -1)
        with pytest.raises(UserError, match=r"is of another user, .*; set ST_REID_CACHE to .* --root"):
            read_dataset("walkers")
        assert list(cache.iterdir()) == []
        assert read_dataset("walkers", cache).name == "walkers"  # who names it trusts it

    def test_cache_folder_of_the_system(self, monkeypatch):
        monkeypatch.delenv("ST_REID_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
        assert walkers.cache_folder() == Path("/some/where/st_reid")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert walkers.cache_folder() == Path.home() / ".cache" / "st_reid"

    def test_root(self, tmp_path):
        data = read_dataset("walkers", tmp_path)
        folder = tmp_path / f"walkers-{walkers.VERSION}-seed0"
        assert read_dataset("walkers", folder) == data  # the folder itself
        assert [p.name for p in tmp_path.iterdir()] == [folder.name]

    def test_unwritable(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"cannot make .*ST_REID_CACHE") as error:
            read_dataset("walkers", tmp_path / "file")
        assert "\n" not in str(error.value)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_no_permission(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match="Permission denied"):
            read_dataset("walkers", tmp_path)

    def test_disk_full(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(walkers, "write_rows", full)
        with pytest.raises(UserError, match="No space left"):
            read_dataset("walkers", tmp_path)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("seed", [-1, 1.5, "0", True])
    def test_seed(self, tmp_path, seed):
        with pytest.raises(UserError, match=r"expected (int|0 or more)"):
            read_dataset("walkers", tmp_path, {"seed": seed})

    def test_clothes(self, tmp_path):
        data = read_dataset("walkers", tmp_path, {"clothes": "changed"})
        assert data.notes == {"walkers": f"walkers-{walkers.VERSION}-changed-seed0"}
        with pytest.raises(UserError, match="clothes is 'new'; expected kept or changed"):
            read_dataset("walkers", tmp_path, {"clothes": "new"})

    def test_unknown_option(self, tmp_path):
        with pytest.raises(UserError, match="'sed'"):
            read_dataset("walkers", tmp_path, {"sed": 1})


@pytest.mark.slow
def test_size_of_the_full_dataset(tmp_path):
    make(tmp_path / "w", 0)
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) < 30e6


class TestColorHistogram:
    def test_is_a_unit_vector(self):
        rng = np.random.default_rng(0)
        feature = color_histogram(rng.integers(0, 256, (3, 128, 64, 3), dtype=np.uint8))
        assert feature.shape == (384,)
        assert feature.dtype == np.float32
        assert float(feature @ feature) == pytest.approx(1, abs=1e-6)

    def test_counts_the_colours_of_each_stripe(self):
        frames = np.zeros((1, 12, 9, 3), np.uint8)
        frames[:, :2] = (255, 0, 0)
        feature = color_histogram(frames).reshape(6, 4, 4, 4) ** 2
        assert feature[0, 3, 0, 0] == pytest.approx(1 / 6)
        assert feature[1:, 0, 0, 0] == pytest.approx(1 / 6)
        assert (feature > 0).sum() == 6

    def test_does_not_depend_on_order_or_repetition(self):
        frames = np.random.default_rng(0).integers(0, 256, (4, 30, 11, 3), dtype=np.uint8)
        feature = color_histogram(frames)
        np.testing.assert_allclose(color_histogram(frames[::-1]), feature, atol=1e-7)
        np.testing.assert_allclose(color_histogram(np.concatenate([frames, frames])), feature, atol=1e-7)

    @pytest.mark.parametrize("shape", [(128, 64, 3), (0, 128, 64, 3), (2, 5, 64, 3), (2, 128, 64, 1), (2, 3, 128, 64)])
    def test_shape(self, shape):
        with pytest.raises(UserError, match="expected"):
            color_histogram(np.zeros(shape, np.uint8))

    def test_type(self):
        with pytest.raises(UserError, match="uint8"):
            color_histogram(np.zeros((1, 128, 64, 3), np.float32))


def test_a_folder_of_something_else_is_not_drawn_into(tmp_path):
    (tmp_path / "manifest.csv").touch()
    with pytest.raises(UserError, match=r"holds other files, manifest.csv first; if it is a dataset, name it with"):
        read_dataset("walkers", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]
