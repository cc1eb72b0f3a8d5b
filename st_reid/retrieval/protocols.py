"""Protocols by name: which gallery items of the query's person are matches, and which are junk.

In every protocol the query's person seen by the query's camera is junk. A protocol that compares a label, such as the
clothes, has more junk: with ``clothes_changing`` the query's person in the query's clothes, with ``same_clothes`` the
query's person in other clothes (Gu et al., CVPR 2022); locations and scales likewise (MEVID, Davila et al., WACV 2023).
Items of other persons are never junk.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from numpy.typing import NDArray
from torch import Tensor

A = TypeVar("A", NDArray, Tensor)


class Protocol(NamedTuple):
    """What a match has in common with the query, besides the person.

    Attributes:
        label: ``clothes``, ``location`` or ``scale``; empty for nothing.
        same: whether a match has the query's label; otherwise it has another one.
    """

    label: str = ""
    same: bool = True


PROTOCOLS = {
    "standard": Protocol(),
    "clothes_changing": Protocol("clothes", same=False),
    "same_clothes": Protocol("clothes"),
    "other_location": Protocol("location", same=False),
    "same_location": Protocol("location"),
    "other_scale": Protocol("scale", same=False),
    "same_scale": Protocol("scale"),
}


def matches(protocol: Protocol, views: tuple[A, A], labels: tuple[A, A]) -> A:
    """Return which gallery items of the query's person are matches; the others are junk.

    Args:
        protocol: one of ``PROTOCOLS``.
        views: cameras, or tracklets, of queries and gallery items; shapes that broadcast to that of the result.
        labels: what the protocol compares, of queries and gallery items.
    """
    found = views[0] != views[1]
    return found & ((labels[0] == labels[1]) == protocol.same) if protocol.label else found
