"""The picture of a tracklet: its first, middle and last frame side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from st_reid.data.frames import FrameReader
from st_reid.data.tracklet import Tracklet

FRAMES = 3  # on a thumbnail: the first, the middle, the last
THUMBNAIL = (64, 32 * FRAMES)  # height and width in pixels


def shown_frames(count: int) -> list[int]:
    """Return which frames of a tracklet of ``count`` are shown: the first, the middle and the last."""
    return np.linspace(0, count - 1, FRAMES).round().astype(int).tolist()


def thumbnail(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return the picture of a tracklet, (64, 96, 3), from all its frames or the three shown: RGB (h, w, 3) each."""
    height, width = THUMBNAIL
    size = (width // FRAMES, height)
    shown = [frames[i] for i in shown_frames(len(frames))]
    return np.concatenate([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in shown], axis=1)


def frames_shown(reader: FrameReader, tracklet: Tracklet) -> list[NDArray[np.uint8]]:
    """Read the three frames that are shown of a tracklet: RGB (h, w, 3) each."""
    return reader.read(tracklet, shown_frames(len(tracklet)))
