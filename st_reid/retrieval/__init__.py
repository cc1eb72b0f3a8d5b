"""From features to rankings: arrays in, arrays out."""

from st_reid.retrieval.distance import cosine_distance, normalize
from st_reid.retrieval.ranking import RankingResult, evaluate_rank, rank_gallery

__all__ = ["RankingResult", "cosine_distance", "evaluate_rank", "normalize", "rank_gallery"]
