"""From features to rankings; everything here takes and returns arrays."""

from st_reid.retrieval.distance import CosineDistance, cosine_distance, normalize, other_cameras_first
from st_reid.retrieval.matrix import LazyMatrix
from st_reid.retrieval.nearest import Index, nearest
from st_reid.retrieval.ranking import RankingResult, evaluate_rank, rank_gallery
from st_reid.retrieval.reranking import rerank, rerank_distances
from st_reid.retrieval.spatial_temporal import SpatialTemporalModel, choose_constants, joint_distance, joint_score

__all__ = [
    "CosineDistance",
    "Index",
    "LazyMatrix",
    "RankingResult",
    "SpatialTemporalModel",
    "choose_constants",
    "cosine_distance",
    "evaluate_rank",
    "joint_distance",
    "joint_score",
    "nearest",
    "normalize",
    "other_cameras_first",
    "rank_gallery",
    "rerank",
    "rerank_distances",
]
