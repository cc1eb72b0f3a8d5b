"""From files to batches: good and bad images, and the same clips whoever reads them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from st_reid.data.frames import FrameReader, UnreadableImage, read_frame
from st_reid.data.loader import ClipDataset, TrackletClips, eval_loader, train_loader
from st_reid.data.sampling import Draw
from st_reid.data.tracklet import Tracklet
from st_reid.data.transforms import TestTransform, TrainTransform
from st_reid.errors import UserError


def write_image(path: Path, value: int, mode: str = "RGB", size: tuple[int, int] = (16, 32)) -> Path:
    Image.new("RGB", size, (value, value // 2, 255 - value)).convert(mode).save(path)
    return path


@pytest.fixture
def tracklets(tmp_path):
    """Four persons with two tracklets each, of 3 to 10 frames; frame i of tracklet t is of colour 20 t + i."""
    made = []
    for t in range(8):
        paths = tuple(write_image(tmp_path / f"{t}_{i}.png", 20 * t + i) for i in range(3 + t))
        made.append(Tracklet(f"t{t}", paths, f"person{t // 2}", f"camera{t % 2}"))
    return made


def cut(path: Path, keep: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
def test_read_frame_is_rgb(tmp_path, name):
    frame = read_frame(write_image(tmp_path / name, 200))
    assert frame.shape == (3, 32, 16)
    assert frame.dtype == torch.uint8
    expected = torch.tensor([200, 100, 55])[:, None, None]
    assert (frame.int() - expected).abs().max() <= 3


@pytest.mark.parametrize(("name", "mode"), [("g.jpg", "L"), ("g.png", "L"), ("p.png", "P"), ("c.jpg", "CMYK")])
def test_read_frame_of_other_colour_modes(tmp_path, name, mode):
    path = write_image(tmp_path / name, 200, mode)
    expected = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    assert read_frame(path).shape == (3, 32, 16)
    assert (read_frame(path).int() - expected.int()).abs().max() <= 2


def test_read_frame_equals_pillow_on_a_detailed_jpeg(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "n.jpg")
    expected = np.array(Image.open(tmp_path / "n.jpg")).transpose(2, 0, 1)
    assert (read_frame(tmp_path / "n.jpg").int() - torch.from_numpy(expected).int()).abs().max() <= 2


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_image_is_named(tmp_path, suffix, keep):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(path)
    with pytest.raises(UnreadableImage, match=path.name):
        read_frame(cut(path, keep))


def test_a_jpeg_without_its_last_bytes_is_truncated(tmp_path):
    path = write_image(tmp_path / "end.jpg", 90)
    path.write_bytes(path.read_bytes()[:-2])  # the marker of the end only
    with pytest.raises(UnreadableImage, match="cut short"):
        read_frame(path)


def test_a_decoder_that_fills_the_missing_part_is_not_trusted(tmp_path, monkeypatch):
    path = cut(write_image(tmp_path / "grey.jpg", 90, size=(64, 128)), 0.9)
    monkeypatch.setattr("cv2.imdecode", lambda data, flags: np.full((128, 64, 3), 128, np.uint8))
    with pytest.raises(UnreadableImage, match="cut short"):
        read_frame(path)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path):
    path = write_image(tmp_path / "long.jpg", 90)
    path.write_bytes(path.read_bytes() + bytes(100))
    assert read_frame(path).shape == (3, 32, 16)


def test_other_bad_images(tmp_path):
    with pytest.raises(UnreadableImage, match=r"gone\.jpg: no such file"):
        read_frame(tmp_path / "gone.jpg")
    (tmp_path / "text.jpg").write_text("this is no image")
    with pytest.raises(UnreadableImage, match=r"text\.jpg: not an image"):
        read_frame(tmp_path / "text.jpg")
    with pytest.raises(UnreadableImage, match=str(tmp_path)):
        read_frame(tmp_path)


def test_stop_names_the_image(tracklets):
    bad = cut(tracklets[0].paths[1], 0.5)
    with pytest.raises(UnreadableImage, match=bad.name):
        FrameReader("stop").read(tracklets[0], [0, 1])


def test_skip_takes_the_nearest_readable_frame(tracklets, caplog):
    tracklet = tracklets[5]  # 8 frames
    cut(tracklet.paths[3], 0.5)
    tracklet.paths[4].unlink()
    tracklet.paths[0].unlink()
    tracklet.paths[6].unlink()  # between two good ones
    reader = FrameReader("skip")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            frames = reader.read(tracklet, [0, 3, 4, 4, 6, 7])
    assert [int(f[0, 0, 0]) - 100 for f in frames] == [1, 2, 5, 5, 5, 7]
    assert sorted(str(tracklet.paths[i]) in caplog.text for i in range(8)) == [False] * 4 + [True] * 4
    assert len(caplog.records) == 4  # once a path


def test_skip_gives_up_on_a_tracklet_without_any(tracklets):
    for path in tracklets[0].paths:
        path.unlink()
    with pytest.raises(UserError, match=r"'t0'.*none of its 3 images"):
        FrameReader("skip").read(tracklets[0], [0])


def test_an_unknown_option_is_refused():
    with pytest.raises(UserError, match="did you mean 'skip'"):
        FrameReader("skipp")


def make_dataset(tracklets, **options):
    options = {"sampler": "restricted_random", "seq_len": 4, "transform": TrainTransform(32, 16), "seed": 3} | options
    return ClipDataset(tracklets, **options)


def test_a_training_item(tracklets):
    dataset = make_dataset(tracklets, sampler="begin_interval", transform=TestTransform(32, 16))
    item = dataset[Draw(0, 0, 5)]
    assert item.clip.shape == (4, 3, 32, 16)
    assert item.clip[:, 0, 0, 0].tolist() == [100, 102, 104, 106]
    assert (item.label, item.camera, item.tracklet) == (2, 1, 5)
    assert dataset.labels == [0, 0, 1, 1, 2, 2, 3, 3]


def test_items_depend_on_seed_epoch_and_number_only(tracklets):
    first, again, other = make_dataset(tracklets), make_dataset(tracklets), make_dataset(tracklets, seed=4)
    torch.manual_seed(99)
    first[Draw(0, 5, 1)]  # what was drawn before does not matter
    draws = [Draw(epoch, number, 7) for epoch in range(2) for number in range(6)]
    clips = [first[draw].clip for draw in draws]
    assert all(torch.equal(clip, again[draw].clip) for clip, draw in zip(clips, draws, strict=True))
    assert not all(torch.equal(clip, other[draw].clip) for clip, draw in zip(clips, draws, strict=True))
    assert len({clip.numpy().tobytes() for clip in clips}) > 8


def test_a_sampler_of_several_clips_gives_one_of_them(tracklets):
    dataset = make_dataset(tracklets, sampler="all", transform=TestTransform(32, 16))
    starts = {int(dataset[Draw(0, number, 7)].clip[0, 0, 0, 0]) - 140 for number in range(40)}
    assert starts == {0, 4, 8}


def test_workers_change_nothing(tracklets):
    batches = {}
    for workers in (0, 2):
        loader = train_loader(make_dataset(tracklets), persons_per_batch=2, clips_per_person=2, workers=workers)
        batches[workers] = []
        for epoch in range(2):  # the workers of the first epoch serve the second
            loader.batch_sampler.set_epoch(epoch)
            batches[workers] += list(loader)
        assert len(loader) == 2
    assert len(batches[0]) == len(batches[2]) == 4
    for one, two in zip(batches[0], batches[2], strict=True):
        assert one.clip.shape == (4, 4, 3, 32, 16)
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    epochs = [torch.cat([batch.clip for batch in batches[0][i : i + 2]]) for i in (0, 2)]
    assert not torch.equal(*epochs)


def test_a_loader_leaves_the_global_generators_alone(tracklets):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    list(train_loader(make_dataset(tracklets), persons_per_batch=2, clips_per_person=2))
    assert torch.equal(torch.rand(1), expected)


def test_a_workers_error_names_the_image(tracklets):
    for tracklet in tracklets:
        for path in tracklet.paths:
            cut(path, 0.5)
    loader = train_loader(make_dataset(tracklets), persons_per_batch=2, clips_per_person=2, workers=1)
    with pytest.raises(UnreadableImage, match=r"^cannot read image [^\n]*\.png[^\n]*$"):  # one line
        list(loader)


def test_evaluation_sees_every_frame(tracklets):
    dataset = TrackletClips(tracklets, sampler="all", seq_len=4, transform=TestTransform(32, 16))
    seen = {t: [] for t in range(8)}
    for batch in eval_loader(dataset, batch_size=3):
        assert len(batch.clip) <= 3
        for clip, tracklet, weight in zip(*batch, strict=True):
            seen[int(tracklet)] += clip[: int(weight), 0, 0, 0].tolist()
    assert seen == {t: [20 * t + i for i in range(3 + t)] for t in range(8)}


def test_evaluation_with_a_random_sampler_repeats_itself(tracklets):
    def read(seed: int) -> torch.Tensor:
        dataset = TrackletClips(
            tracklets, sampler="random_interval", seq_len=4, transform=TestTransform(32, 16), seed=seed
        )
        return torch.stack([dataset[i].clip for i in range(len(dataset))])

    assert torch.equal(read(1), read(1))
    assert not torch.equal(read(1), read(2))


def test_no_tracklets_no_clips():
    dataset = TrackletClips([], sampler="all", seq_len=4, transform=TestTransform())
    assert list(eval_loader(dataset, batch_size=2)) == []
