"""The joint score of appearance, place and time, for any two sets of features."""

from __future__ import annotations

import numpy as np

from st_reid.config import JointConfig
from st_reid.features.feature_set import FeatureSet
from st_reid.retrieval import CosineDistance, LazyMatrix, SpatialTemporalModel, joint_distance


def joint_distance_of(a: FeatureSet, b: FeatureSet, model: SpatialTemporalModel, constants: JointConfig) -> LazyMatrix:
    """Return 1 - the joint score (A, B) of ST-ReID, computed a block of rows at a time.

    Args:
        a: features with the camera and time of each.
        b: the same.
        model: of transit times.
        constants: of both logistic functions.
    """
    return joint_distance(
        CosineDistance(a.features, b.features, np.float64),
        model.between(a.camera, a.time, b.camera, b.time),
        lambda_appearance=constants.lambda_appearance,
        gamma_appearance=constants.gamma_appearance,
        lambda_time=constants.lambda_time,
        gamma_time=constants.gamma_time,
    )
