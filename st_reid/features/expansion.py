"""Query expansion and augmentation of the gallery, for features with labels."""

from __future__ import annotations

from dataclasses import replace

from st_reid.config import ExpandConfig
from st_reid.features.feature_set import FeatureSet
from st_reid.features.filters import Excluded
from st_reid.retrieval.expansion import augment_gallery, expand_queries


def expand(
    queries: FeatureSet, gallery: FeatureSet, config: ExpandConfig, excluded: Excluded
) -> tuple[FeatureSet, FeatureSet]:
    """Return queries and gallery with features that are averaged with those of their nearest gallery tracklets.

    The gallery comes first: the neighbours of a query are then augmented already.

    Args:
        queries: what is looked for.
        gallery: where it is looked for.
        config: how many neighbours; with 0 the features stay as they are.
        excluded: which gallery tracklets are no neighbours of a query, such as the query itself.
    """
    if config.gallery:
        gallery = replace(gallery, features=augment_gallery(gallery.features, config.gallery))
    if config.queries:
        features = expand_queries(queries.features, gallery.features, config.queries, excluded)
        queries = replace(queries, features=features)
    return queries, gallery


def describe_expansion(config: ExpandConfig) -> str:
    """Return in words how features are expanded; empty where they are not."""
    if not (config.queries or config.gallery):
        return ""
    return f"queries by {config.queries}, gallery by {config.gallery} neighbours"
