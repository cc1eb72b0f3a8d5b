"""``vccr``: VCCR (Han et al., 2022), 392 persons in 2 to 10 outfits each, 4,384 tracklets.

Folders: ``vccr/train/PERSON/TRACKLET`` and ``vccr/test_qg/{query,gallery}/PERSON/CAMERA/TRACKLET``. The parts of an
image's name are joined by ``-``: the second is the camera, the third the clothes, each after a letter; the last is the
frame.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from st_reid.data.datasets.base import DATASETS, find_folder, read_frames
from st_reid.data.files import SUFFIX_PATTERN, folders_of
from st_reid.data.tracklet import Dataset, Tracklet
from st_reid.errors import UserError

logger = logging.getLogger(__name__)
NAME = re.compile(
    rf"[^-]+-\D(?P<camera>[^-]+)-\D(?P<clothes>[^-]+)-(.*-)?\D*(?P<frame>\d+){SUFFIX_PATTERN}", re.IGNORECASE
)
EXPECTED = "names such as 001-C3-K2-0017.jpg: person, camera, clothes, frame"


@DATASETS.register("vccr")
def read(root: Path | None, *, min_frames: int = 8) -> Dataset:
    """Read VCCR. The label of an outfit is that of the person and that of the clothes, which begin anew for each.

    Args:
        root: the folder that holds ``vccr`` or ``VCCR``, or that folder itself.
        min_frames: shorter tracklets of query and gallery are left out, as usual.

    Raises:
        UserError: a missing folder, an image with a name of another form, or a tracklet of several cameras or clothes.
    """
    folder = find_folder(root, ["vccr", "VCCR"], ["train", "test_qg/query", "test_qg/gallery"], "vccr")
    train = [_tracklet(f, folder, p.name) for p in folders_of(folder / "train") for f in folders_of(p)]
    query, gallery = (
        _long(list(_test_tracklets(folder / "test_qg" / part, folder)), min_frames, part)
        for part in ("query", "gallery")
    )
    return Dataset(
        "vccr", tuple(train), query, gallery, notes={"short": f"test tracklets of {min_frames} frames and more"}
    )


def _test_tracklets(part: Path, root: Path) -> Iterator[Tracklet]:
    for person in folders_of(part):
        for camera in folders_of(person):
            for folder in folders_of(camera):
                yield _tracklet(folder, root, person.name)


def _long(tracklets: list[Tracklet], least: int, part: str) -> tuple[Tracklet, ...]:
    kept = tuple(t for t in tracklets if len(t) >= least)
    if len(kept) < len(tracklets):
        logger.info(f"vccr: {len(tracklets) - len(kept)} {part} tracklets of fewer than {least} frames are left out")
    return kept


def _tracklet(folder: Path, root: Path, person: str) -> Tracklet:
    frames = []
    for path in read_frames(folder, "vccr"):
        found = NAME.fullmatch(path.name)
        if not found:
            raise UserError(f"vccr: {path}; expected {EXPECTED}")
        frames.append((int(found["frame"]), path, found["camera"], found["clothes"]))
    frames.sort()
    labels = {(camera, clothes) for *_, camera, clothes in frames}
    if len(labels) > 1:
        raise UserError(f"vccr: the images in {folder} are of several cameras or clothes; a tracklet has one of each")
    ((camera, clothes),) = labels
    name = folder.relative_to(root).as_posix()
    return Tracklet(name, tuple(path for _, path, *_ in frames), person, camera, clothes=f"{person}_{clothes}")
