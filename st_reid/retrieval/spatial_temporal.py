"""Where and when a person can be: ST-ReID's spatial-temporal stream and its joint metric.

Wang, Lai, Huang, Xie: Spatial-Temporal Person Re-identification, AAAI 2019. docs/spatial_temporal.md explains it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from st_reid.arrays import NUMBER, WHOLE, Array, check_arrays, read_arrays
from st_reid.errors import UserError
from st_reid.files import written_whole
from st_reid.retrieval.distance import CosineDistance
from st_reid.retrieval.matrix import LazyMatrix, row_blocks
from st_reid.retrieval.ranking import evaluate_rank

EPSILON = 1e-7  # added to counts and sums that divide, as in the original
REACH = 3  # the smoothing kernel ends after so many sigma
MIN_SIGMA = 0.01  # bins: far below one, nothing is smoothed
CACHED_BYTES = 2**18  # of a block for which every step of a look-up stays in a core's own cache
MAX_ENTRIES = 2**27  # of the table of transit times: 1 GiB
FILE = {
    "cameras": Array("Uiuf", ("C",)),
    "pairs": Array(WHOLE, ("P", 2)),
    "counts": Array(NUMBER, ("P", "bins")),
    "curves": Array(NUMBER, ("P", "bins")),
    "bin_width": Array(NUMBER),
    "sigma": Array(NUMBER),
}
"""What a file of the model holds."""
HINT = "expected a model of transit times, as SpatialTemporalModel.save writes it"


@dataclass(frozen=True)
class SpatialTemporalModel:
    """How long persons take from one camera to another: a smoothed histogram for each ordered pair of cameras.

    Make one with :meth:`fit` or :meth:`load`.

    Attributes:
        cameras: (C,) their labels, in ascending order.
        pairs: (P, 2) the pairs of cameras that one person passed, as indices of (later, earlier) camera.
        counts: (P, bins) how many persons took so long, before smoothing; zeros where that is not known.
        curves: (P, bins) the probability of a transit time, smoothed; each sums to 1.
        bin_width: of the histogram, in the unit of the times.
        sigma: of the Gaussian that smooths, in bins.
    """

    cameras: NDArray
    pairs: NDArray[np.int64]
    counts: NDArray[np.float64]
    curves: NDArray[np.float64]
    bin_width: float
    sigma: float

    @classmethod
    def fit(
        cls,
        pids: ArrayLike,
        camids: ArrayLike,
        times: ArrayLike,
        *,
        bin_width: float = 100,
        sigma: float = 50.0,
    ) -> SpatialTemporalModel:
        """Learn transit times from persons seen by several cameras (section 3.2 of the paper, eq. 1 to 3).

        A person counts once for each pair of cameras that saw it, with the difference of its mean times there. A person
        seen by only one camera adds nothing. The histograms are as long as the longest difference plus the kernel;
        beyond them the probability is 0.

        Args:
            pids: (N,) persons, of any type that can be compared.
            camids: (N,) cameras, of any type that can be compared.
            times: (N,) on one clock for all cameras, in frames, seconds or any other unit.
            bin_width: width of a bin in that unit.
            sigma: of the smoothing, in bins. It belongs to ``bin_width`` and to the constants of :func:`joint_score`.

        Raises:
            UserError: lengths that differ, a time that is missing or not finite, no person seen by two cameras, a
                difference too long for this ``bin_width``, or a ``bin_width`` or ``sigma`` that is not positive.
        """
        pids, camids, clock = np.asarray(pids), np.asarray(camids), as_times(times, "the times to learn from")
        if not pids.shape == camids.shape == clock.shape or pids.ndim != 1:
            raise UserError(f"{pids.shape} persons, {camids.shape} cameras, {clock.shape} times; expected (N,) of each")
        if not 0 < bin_width < np.inf:
            raise UserError(f"bin_width is {bin_width}; expected a positive number")
        if not MIN_SIGMA <= sigma <= MAX_ENTRIES:
            raise UserError(f"sigma is {sigma}; expected at least {MIN_SIGMA} bins")
        cameras, camera = np.unique(camids, return_inverse=True)
        cameras = np.array(cameras.tolist())  # plain labels, which a file can hold
        clock = clock - (clock.min() if clock.size else 0)  # so that EPSILON does not depend on the clock's origin
        later, earlier, gaps = _transits(np.unique(pids, return_inverse=True)[1], camera, clock, len(cameras))
        if not gaps.size:
            raise UserError(
                f"no person of {len(np.unique(pids))} was seen by two of the {len(cameras)} cameras; "
                "there are no transit times to learn from"
            )
        reach = int(REACH * sigma)
        pairs, pair = np.unique(np.stack([later, earlier], axis=1), axis=0, return_inverse=True)
        length = np.floor(gaps.max() / bin_width) + 1 + reach
        if len(pairs) * length > MAX_ENTRIES:
            raise UserError(
                f"a transit took {gaps.max():g}, which is {length - 1 - reach:g} bins of {bin_width:g}; "
                "raise bin_width, or check the clocks"
            )
        bins = int(length)
        flat = pair.ravel() * bins + (gaps / bin_width).astype(np.int64)
        counts = np.bincount(flat, minlength=len(pairs) * bins).reshape(len(pairs), bins).astype(np.float64)
        return cls(cameras, pairs, counts, _smooth(_to_one(counts), sigma, reach), float(bin_width), float(sigma))

    @property
    def bins(self) -> int:
        """Length of the histograms."""
        return self.curves.shape[1]

    def probability(
        self, q_camids: ArrayLike, q_times: ArrayLike, g_camids: ArrayLike, g_times: ArrayLike
    ) -> NDArray[np.float64]:
        """Return how probable it is that one person passed both cameras at those times, (Q, G).

        It is 0 for two passings of one camera, for cameras between which no person was seen to go or
        that are unknown, and for times farther apart than the histograms reach. At equal times the gallery's camera
        counts as the later one.

        Raises:
            UserError: lengths that differ, or a time that is missing or not finite.
        """
        return np.asarray(self.between(q_camids, q_times, g_camids, g_times))

    def between(self, q_camids: ArrayLike, q_times: ArrayLike, g_camids: ArrayLike, g_times: ArrayLike) -> LazyMatrix:
        """Return :meth:`probability`, computed a block of rows at a time.

        Raises:
            UserError: as :meth:`probability`.
        """
        q_camera, q_time = self._encode(q_camids, q_times, "query")
        g_camera, g_time = self._encode(g_camids, g_times, "gallery")
        # Row of `table` for (later, earlier), and a last row and a last column of zeros for all that was never seen.
        unseen = len(self.pairs)
        place = np.full((len(self.cameras) + 1,) * 2, unseen)
        place[tuple(self.pairs.T)] = np.arange(unseen)
        table = np.zeros((unseen + 1, self.bins + 1))
        table[:-1, :-1] = self.curves
        flat, start = table.ravel(), place * (self.bins + 1)

        def look_up(first: NDArray[np.int64], gap: NDArray[np.float64]) -> NDArray[np.float64]:
            np.divide(np.abs(gap, out=gap), self.bin_width, out=gap)
            first += np.minimum(gap, self.bins, out=gap).astype(np.int64)
            return flat.take(first)

        def rows(which: slice) -> NDArray[np.float64]:
            camera, time = q_camera[which], q_time[which]
            probability = np.empty((len(time), len(g_time)))
            for c in np.unique(camera):
                q_later, g_later = start[c, g_camera], start[g_camera, c]
                of_camera = np.flatnonzero(camera == c)
                for some in row_blocks((len(of_camera), len(g_time)), CACHED_BYTES):
                    q = of_camera[some]
                    gap = time[q, None] - g_time
                    probability[q] = look_up(np.where(gap > 0, q_later, g_later), gap)
            return probability

        def pairs(q: NDArray[np.integer], g: NDArray[np.integer]) -> NDArray[np.float64]:
            gap = q_time[q] - g_time[g]
            later = np.where(gap > 0, start[q_camera[q], g_camera[g]], start[g_camera[g], q_camera[q]])
            return look_up(later, gap)

        return LazyMatrix((len(q_time), len(g_time)), rows, pairs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a ``.npz`` file, whole or not at all."""
        with written_whole(Path(path)) as file:
            np.savez_compressed(
                file,
                cameras=self.cameras,
                pairs=self.pairs,
                counts=self.counts,
                curves=self.curves,
                bin_width=self.bin_width,
                sigma=self.sigma,
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SpatialTemporalModel:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises:
            UserError: a file that cannot be read, or is not a file that :meth:`save` wrote.
        """
        path = Path(path)
        content = read_arrays(path, FILE, HINT)
        check_arrays(content, FILE, path, HINT)
        places, width, sigma = (content[name] for name in ("pairs", "bin_width", "sigma"))
        if places.size and not 0 <= places.min() <= places.max() < len(content["cameras"]):
            raise UserError(f"{path}, pairs: not indices of its {len(content['cameras'])} cameras; {HINT}")
        if not (width > 0 and sigma > 0 and content["curves"].min(initial=0) >= 0):
            raise UserError(f"{path}: bin_width {width}, sigma {sigma}, curves; expected none below 0; {HINT}")
        return cls(**{**content, "bin_width": float(width), "sigma": float(sigma)})  # type: ignore[arg-type]

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the transit times, a cell of the grid for each ordered pair of cameras, into a PNG file."""
        from st_reid.drawing.curves import transit_times

        transit_times(
            self.cameras,
            self.pairs,
            self.counts,
            self.curves,
            Path(path),
            bin_width=self.bin_width,
            sigma=self.sigma,
        )

    def _encode(self, camids: ArrayLike, times: ArrayLike, what: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return indices of cameras, ``len(self.cameras)`` for one that is not known, and times."""
        camids, times = np.asarray(camids), as_times(times, f"the {what}'s times")
        if camids.shape != times.shape or camids.ndim != 1:
            raise UserError(f"the {what} has {camids.shape} cameras and {times.shape} times; expected (N,) of each")
        index = {label: i for i, label in enumerate(self.cameras.tolist())}
        labels, inverse = np.unique(camids, return_inverse=True)
        return np.array([index.get(label, len(index)) for label in labels.tolist()], dtype=np.int64)[inverse], times


def joint_score(
    similarity: ArrayLike,
    probability: ArrayLike,
    *,
    lambda_appearance: float = 1.0,
    gamma_appearance: float = 5.0,
    lambda_time: float = 2.0,
    gamma_time: float = 5.0,
) -> NDArray[np.float64]:
    """Join appearance with where and when (the paper's eq. 5 and 6): f(s; l1, g1) f(p; l2, g2), bigger is better.

    f(x; l, g) = 1 / (1 + l exp(-g x)), the logistic smoothing. The constants belong to bins of 100 frames and
    sigma = 50: there p is 0.016 at most, and the second factor moves a score by 5 %. The arithmetic is float64: in
    float32 near-ties move.

    Args:
        similarity: cosine similarity, any shape, (Q, G).
        probability: of the spatial-temporal stream, the same shape.
        lambda_appearance: l of the first factor.
        gamma_appearance: g of the first factor.
        lambda_time: l of the second factor.
        gamma_time: g of the second factor.

    Raises:
        UserError: two shapes.
    """
    s, p = np.asarray(similarity, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    if s.shape != p.shape:
        raise UserError(f"similarities are {s.shape}, probabilities {p.shape}; expected one shape")
    return _by_pieces(lambda s, p: _joined(s, p, lambda_appearance, gamma_appearance, lambda_time, gamma_time), s, p)


def joint_distance(appearance: CosineDistance, probability: LazyMatrix, **constants: float) -> LazyMatrix:
    """Return 1 - :func:`joint_score`, (Q, G), a block of rows at a time.

    Args:
        appearance: cosine distances (Q, G).
        probability: what :meth:`SpatialTemporalModel.between` returned for the same items.
        constants: of :func:`joint_score`.

    Raises:
        UserError: two shapes.
    """
    if appearance.shape != probability.shape:
        raise UserError(f"distances are {appearance.shape}, probabilities {probability.shape}; expected one shape")

    def join(distance: NDArray[np.floating], p: NDArray[np.floating]) -> NDArray[np.float64]:
        return _by_pieces(lambda d, p: 1 - joint_score(1 - d, p, **constants), distance, p)

    return LazyMatrix(
        appearance.shape,
        lambda rows: join(appearance.rows(rows), probability.rows(rows)),
        lambda i, j: join(appearance.pairs(i, j), probability.pairs(i, j)),
    )


SIGMAS = (2.0, 5.0, 10.0, 20.0, 50.0)
GAMMAS = (5.0, 15.0, 50.0, 150.0, 500.0)
FOLDS = 5


@dataclass(frozen=True)
class Choice:
    """Constants of the joint metric, and how they were found.

    Attributes:
        sigma: of the smoothing, in bins.
        gamma_time: of the logistic of the probability.
        mAP: the mean over the folds with these.
        tried: the mean mAP of every (sigma, gamma_time).
    """

    sigma: float
    gamma_time: float
    mAP: float  # noqa: N815 - the field's name for it
    tried: dict[tuple[float, float], float]


def choose_constants(
    features: NDArray[np.floating],
    pids: ArrayLike,
    camids: ArrayLike,
    times: ArrayLike,
    *,
    bin_width: float = 100,
    sigmas: Sequence[float] = SIGMAS,
    gammas: Sequence[float] = GAMMAS,
    folds: int = FOLDS,
    seed: int = 0,
    **constants: float,
) -> Choice:
    """Choose sigma and gamma of the time by cross-validation over identities.

    For each fold of the identities transit times are fitted on the others, and every item of the fold that has a match
    in another camera is looked for among the fold's items. The best mean mAP wins; of equal ones, the greatest sigma,
    then the smallest gamma. The features should not come from a model that was trained on these identities:
    it separates them so well that times cannot help, and the choice means little.

    Args:
        features: (N, D).
        pids: (N,) persons.
        camids: (N,) cameras.
        times: (N,) on one clock.
        bin_width: width of a bin in the unit of the times.
        sigmas: candidates, in bins.
        gammas: candidates.
        folds: parts that the identities are cut into, at random.
        seed: of the cut.
        constants: the other constants of :func:`joint_score`.

    Raises:
        UserError: what :meth:`SpatialTemporalModel.fit` raises, or too few identities for a fold to have a match and
            the others a transit time.
    """
    pids, camids, times = np.asarray(pids), np.asarray(camids), as_times(times, "the times to learn from")
    check_folds(pids, folds)
    persons, person = np.unique(pids, return_inverse=True)
    fold_of = np.random.default_rng(seed).permutation(len(persons))[person] % folds
    sums = {(sigma, gamma): 0.0 for sigma in sorted(sigmas, reverse=True) for gamma in sorted(gammas)}
    for fold in range(folds):
        held, rest = fold_of == fold, fold_of != fold
        similarity = 1 - np.asarray(CosineDistance(features[held], features[held], np.float64))
        place = camids[held], times[held]
        for sigma in sigmas:
            model = SpatialTemporalModel.fit(pids[rest], camids[rest], times[rest], bin_width=bin_width, sigma=sigma)
            probability = model.probability(*place, *place)
            for gamma in gammas:
                score = joint_score(similarity, probability, **constants, gamma_time=gamma)
                sums[sigma, gamma] += evaluate_rank(-score, pids[held], pids[held], place[0], place[0]).mAP
    tried = {constants: total / folds for constants, total in sums.items()}
    (sigma, gamma), best = max(tried.items(), key=lambda item: round(item[1], 9))  # the first of equal ones
    return Choice(sigma, gamma, best, tried)


def check_folds(pids: ArrayLike, folds: int = FOLDS) -> None:
    """Raise :class:`UserError` where there are too few identities to cut them into ``folds``."""
    persons = len(np.unique(np.asarray(pids)))
    if persons < 2 * folds:
        raise UserError(f"{persons} identities are too few for cross-validation; expected at least {2 * folds}")


def as_times(times: ArrayLike, what: str) -> NDArray[np.float64]:
    """Return times as numbers; raise :class:`UserError` where one is missing or not finite."""
    try:
        values = np.asarray(times, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} are not numbers ({error})") from None
    missing = np.flatnonzero(~np.isfinite(values).ravel())
    if missing.size:
        raise UserError(
            f"{missing.size} of {values.size} are missing or not finite in {what}, number {missing[0]} first; "
            "leave those items out, or go by appearance alone"
        )
    return values


def _transits(
    person: NDArray[np.int64], camera: NDArray[np.int64], times: NDArray[np.float64], num_cameras: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return later camera, earlier camera and time difference, one for each person and pair of cameras that saw it."""
    seen, inverse, count = np.unique(person * num_cameras + camera, return_inverse=True, return_counts=True)
    mean = np.bincount(inverse, weights=times) / (count + EPSILON)
    person, camera = np.divmod(seen, num_cameras)  # sorted by person, then by camera
    a, b = [], []
    for lag in range(1, num_cameras):
        first = np.flatnonzero(person[lag:] == person[:-lag])
        if not first.size:
            break
        a.append(first)
        b.append(first + lag)
    if not a:
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing, np.empty(0)
    first, second = np.concatenate(a), np.concatenate(b)
    gap = mean[second] - mean[first]
    forward = gap >= 0  # at equal times the second camera in ascending order counts as the later one
    later, earlier = np.where(forward, second, first), np.where(forward, first, second)
    return camera[later], camera[earlier], np.abs(gap)


def _to_one(histograms: NDArray[np.float64]) -> NDArray[np.float64]:
    return histograms / (histograms.sum(axis=1, keepdims=True) + EPSILON)


def _smooth(histograms: NDArray[np.float64], sigma: float, reach: int) -> NDArray[np.float64]:
    """Convolve histograms (P, bins) with a Gaussian that ends after ``reach`` bins, and normalise them again."""
    distance = np.arange(-reach, reach + 1)
    kernel = np.exp(-(distance**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    smoothed = np.zeros_like(histograms)
    bins = histograms.shape[1]
    for row, column in zip(*np.nonzero(histograms), strict=True):  # few are: one a person and pair of cameras at most
        first, last = max(0, column - reach), min(bins, column + reach + 1)
        smoothed[row, first:last] += histograms[row, column] * kernel[first - column + reach : last - column + reach]
    return _to_one(smoothed)


def _by_pieces(
    function: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    a: NDArray[np.floating],
    b: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Return a function of two arrays of one shape, element by element, by pieces that stay in a core's own cache."""
    x, y = a.ravel(), b.ravel()
    values = np.empty(a.size)
    size = CACHED_BYTES // values.itemsize
    for start in range(0, a.size, size):
        part = slice(start, start + size)
        values[part] = function(x[part].astype(np.float64, copy=False), y[part].astype(np.float64, copy=False))
    return values.reshape(a.shape)


def _joined(
    s: NDArray[np.float64], p: NDArray[np.float64], l1: float, g1: float, l2: float, g2: float
) -> NDArray[np.float64]:
    """Return f(s; l1, g1) f(p; l2, g2)."""
    score = _one_plus(s, l1, g1)
    score *= _one_plus(p, l2, g2)
    return np.reciprocal(score, out=score)


def _one_plus(x: NDArray[np.float64], scale: float, gamma: float) -> NDArray[np.float64]:
    """Return 1 + scale exp(-gamma x), the inverse of the logistic."""
    y = np.multiply(x, -gamma)
    np.exp(y, out=y)
    y *= scale
    y += 1
    return y
