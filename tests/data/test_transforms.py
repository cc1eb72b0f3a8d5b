"""Transforms: one draw a clip, the right pixels, the right normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from st_reid.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Augmentation, EvalTransform, TrainTransform, to_float


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A frame without sharp edges, uint8 (height, width, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def planes(frame: np.ndarray) -> torch.Tensor:
    """A frame as a clip has it, (3, height, width)."""
    return torch.from_numpy(frame).permute(2, 0, 1)


def pillow(frame: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Pillow's antialiased bilinear resize (3, height, width), as an oracle."""
    return planes(np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)))


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> int:
    return int((a.int() - b.int()).abs().max())


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (400, 190), (37, 20)])
def test_resize_equals_pillow(size):
    frames = [smooth(*size, seed=i) for i in range(3)]
    clip = EvalTransform(256, 128)(frames)
    assert clip.shape == (3, 3, 256, 128)
    assert clip.dtype == torch.uint8
    assert clip.is_contiguous()
    for got, frame in zip(clip, frames, strict=True):
        assert largest_difference(got, pillow(frame, 256, 128)) <= 1


def test_shrinking_is_antialiased():
    stripes = np.zeros((256, 128, 3), np.uint8)
    stripes[::2] = 255  # without antialiasing a half of the lines would be dropped: black or white
    (shrunk,) = EvalTransform(64, 32)([stripes])
    assert shrunk[:, 4:-4].min() > 100
    assert shrunk[:, 4:-4].max() < 155


def test_frames_may_differ_in_size_and_stay_in_order():
    frames = [smooth(100, 40, 1), smooth(90, 44, 2), smooth(100, 40, 3)]
    clip = EvalTransform(64, 32)(frames)
    for got, frame in zip(clip, frames, strict=True):
        assert largest_difference(got, pillow(frame, 64, 32)) <= 1


@pytest.mark.parametrize("transform", [EvalTransform(50, 30), TrainTransform(50, 30, crop=0, flip=0, erase=1)])
def test_the_frames_themselves_are_not_changed(transform):
    frames = [smooth(50, 30, i) for i in range(2)]  # of the output's size: nothing to resize, easily shared
    before = [f.copy() for f in frames]
    transform(frames, np.random.default_rng(0))
    assert all(np.array_equal(f, b) for f, b in zip(frames, before, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_a_clip_of_equal_frames_stays_one(seed):
    frame = smooth(128, 64)
    clip = TrainTransform(64, 32, jitter=0.3)([frame] * 4, np.random.default_rng(seed))
    assert clip.shape == (4, 3, 64, 32)
    assert all(torch.equal(clip[0], other) for other in clip[1:])


def test_draws_depend_on_the_generator_only():
    frames = [smooth(128, 64)] * 2
    transform = TrainTransform(64, 32, jitter=0.2)
    clips = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)  # noqa: NPY002
        clips.append(transform(frames, np.random.default_rng(7)))
    assert torch.equal(*clips)
    others = [transform(frames, np.random.default_rng(seed)) for seed in range(8, 12)]
    assert not all(torch.equal(clips[0], other) for other in others)


def test_probabilities():
    rng = np.random.default_rng(0)
    draws = [TrainTransform(flip=0.5, crop=0.2, erase=0.8).draw(rng) for _ in range(4000)]
    assert np.mean([d.flip for d in draws]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([d.crop is not None for d in draws]) == pytest.approx(0.2, abs=0.04)
    assert np.mean([d.erase is not None for d in draws]) == pytest.approx(0.8, abs=0.04)
    nothing = [TrainTransform(flip=0, crop=0, erase=0).draw(rng) for _ in range(100)]
    assert set(nothing) == {Augmentation()}


def test_flip_mirrors():
    frame = smooth(256, 128)
    (clip,) = TrainTransform().apply([frame], Augmentation(flip=True))
    assert torch.equal(clip, planes(frame).flip(-1))


def test_crop_keeps_eight_ninths_from_corner_to_corner():
    frame = smooth(288, 144)  # 8/9 of it is 256 x 128: nothing is left to resize
    for crop, top, left in (((0.0, 0.0), 0, 0), ((1.0, 1.0), 32, 16), ((0.5, 0.25), 16, 4)):
        (clip,) = TrainTransform().apply([frame], Augmentation(crop=crop))
        assert torch.equal(clip, planes(frame)[:, top : top + 256, left : left + 128])


def test_crop_is_near_torchreids_enlarge_and_crop():
    frame = smooth(128, 64)
    enlarged = pillow(frame, 288, 144)
    (clip,) = TrainTransform().apply([frame], Augmentation(crop=(1.0, 0.0)))
    assert (clip.int() - enlarged[:, 32:, :128].int()).abs().float().mean() < 2  # half a source pixel off at most


def test_erasing_covers_one_rectangle_with_the_fill():
    frame = np.zeros((256, 128, 3), np.uint8)
    transform = TrainTransform(flip=0, crop=0, erase=1)
    for seed in range(40):
        clip = transform([frame, frame], np.random.default_rng(seed))
        erased = clip[0].ne(0).all(dim=0)
        rows, columns = erased.any(dim=1).nonzero(), erased.any(dim=0).nonzero()
        height, width = len(rows), len(columns)
        assert erased.sum() == height * width == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert 0.019 < height * width / (256 * 128) < 0.41
        assert 0.28 < height / width < 3.5
        assert clip[0][:, rows[0, 0], columns[0, 0]].tolist() == [124, 116, 104]  # 255 x ImageNet's mean
        assert torch.equal(clip[0], clip[1])


def test_jitter_changes_colours_only_when_asked():
    frame = smooth(64, 32)
    plain = TrainTransform(64, 32, crop=0, flip=0, erase=0)([frame], np.random.default_rng(0))
    assert torch.equal(plain[0], planes(frame))
    (jittered,) = TrainTransform(64, 32, crop=0, flip=0, erase=0, jitter=0.5)([frame], np.random.default_rng(0))
    assert not torch.equal(jittered, planes(frame))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_to_float(dtype):
    batch = torch.randint(0, 256, (2, 3, 3, 4, 5), dtype=torch.uint8)
    got = to_float(batch, dtype)
    assert got.dtype == dtype
    pixels = batch.double() / 255
    for channel in range(3):
        expected = (pixels[:, :, channel] - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        tolerance = 1e-6 if dtype == torch.float32 else 0.01
        assert torch.allclose(got[:, :, channel].double(), expected, rtol=tolerance, atol=tolerance)


def test_to_float_refuses_what_is_float_already():
    with pytest.raises(TypeError, match="uint8"):
        to_float(torch.zeros(1, 3, 2, 2))


def test_a_cast_changes_each_colour_by_its_own_factor_in_all_frames():
    frames = [np.full((64, 32, 3), value, np.uint8) for value in (100, 50, 240)]
    clip = TrainTransform(64, 32).apply(frames, Augmentation(cast=(1.2, 1.0, 0.5)))
    assert clip[:, :, 0, 0].tolist() == [[120, 100, 50], [60, 50, 25], [255, 240, 120]]
    draws = [TrainTransform(cast=0.3).draw(np.random.default_rng(seed)).cast for seed in range(300)]
    assert 0.7 <= np.min(draws) < 0.75
    assert 1.25 < np.max(draws) <= 1.3
    assert TrainTransform().draw(np.random.default_rng(0)).cast is None
