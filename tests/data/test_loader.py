"""From tracklets to batches: the same clips whoever reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_data import cut

from st_reid.data.clip_spec import ClipSpec
from st_reid.data.frames import UnreadableImage
from st_reid.data.loader import ClipDataset, TrackletClips, eval_loader, train_loader
from st_reid.data.sampling import Draw
from st_reid.data.transforms import EvalTransform, TrainTransform

SPEC = ClipSpec(32, 16, 4, sampler="restricted_random", seed=3)


def make_dataset(tracklets, **options):
    transform = options.pop("transform", TrainTransform(32, 16))
    return ClipDataset(tracklets, replace(SPEC, **options), transform)


def test_a_training_item(tracklets):
    dataset = make_dataset(tracklets, sampler="begin_interval", transform=EvalTransform(32, 16))
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
    dataset = make_dataset(tracklets, sampler="all", transform=EvalTransform(32, 16))
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
    seen = {t: [] for t in range(8)}
    for batch in eval_loader(tracklets, replace(SPEC, sampler="all", batch=3)):
        assert len(batch.clip) <= 3
        for clip, tracklet, weight in zip(*batch, strict=True):
            seen[int(tracklet)] += clip[: int(weight), 0, 0, 0].tolist()
    assert seen == {t: [20 * t + i for i in range(3 + t)] for t in range(8)}


@pytest.mark.parametrize("uses_time", [True, False])
def test_evaluation_of_shuffled_and_single_frames(tracklets, uses_time):
    def seen(frames, which=None):
        found = {}
        spec = replace(SPEC, sampler="all", batch=3, frames=frames)
        for batch in eval_loader(tracklets, spec, uses_time=uses_time, which=which):
            for clip, tracklet, weight in zip(*batch, strict=True):
                assert len(clip) == (4 if frames == "shuffled" and uses_time else 1)
                found.setdefault(int(tracklet), []).extend(clip[: int(weight), 0, 0, 0].tolist())
        return found

    frames = {t: [20 * t + i for i in range(3 + t)] for t in range(8)}
    assert seen("separate") == frames
    assert seen("one") == {t: [numbers[(len(numbers) - 1) // 2]] for t, numbers in frames.items()}
    shuffled = seen("shuffled")
    assert shuffled != frames
    if not uses_time:
        assert {t: sorted(numbers) for t, numbers in shuffled.items()} == frames
    assert seen("shuffled", which=[7, 2]) == {0: shuffled[7], 1: shuffled[2]}  # as in the whole


def test_evaluation_with_a_random_sampler_repeats_itself(tracklets):
    def read(seed: int) -> torch.Tensor:
        dataset = TrackletClips(tracklets, replace(SPEC, sampler="random_interval", seed=seed))
        return torch.stack([dataset[i].clip for i in range(len(dataset))])

    assert torch.equal(read(1), read(1))
    assert not torch.equal(read(1), read(2))


def test_no_tracklets_no_clips():
    assert list(eval_loader([], replace(SPEC, sampler="all", batch=2))) == []
