"""The protocols about clothes, locations and scales, against a count of every query's list item by item."""

from typing import get_args

import numpy as np
import pytest

from st_reid.config import ProtocolName
from st_reid.errors import UserError
from st_reid.evaluation.protocol import VIEWS
from st_reid.retrieval import evaluate_rank
from st_reid.retrieval.protocols import PROTOCOLS

CASES = 300  # of each protocol
MEANING = {
    "standard": lambda same_label: False,
    "clothes_changing": lambda same_label: same_label,
    "same_clothes": lambda same_label: not same_label,
    "other_location": lambda same_label: same_label,
    "same_location": lambda same_label: not same_label,
    "other_scale": lambda same_label: same_label,
    "same_scale": lambda same_label: not same_label,
}
"""Whether an item of the query's person is junk for its label; that of the query's camera always is."""


def counted(protocol, distances, qp, gp, qc, gc, ql, gl):
    """Return the mean CMC and the mAP by walking down each query's list: the rule of CCVID's and MEVID's evaluation."""
    curves, precisions = [], []
    for q in range(len(qp)):
        seen = found = 0
        hits, curve = [], np.zeros(len(gp))
        for g in np.argsort(distances[q]).tolist():
            own = qp[q] == gp[g]
            if own and (qc[q] == gc[g] or MEANING[protocol](ql[q] == gl[g])):
                continue
            seen += 1
            if own:
                found += 1
                hits.append(found / seen)
                curve[seen - 1 :] = 1
        if hits:
            curves.append(curve)
            precisions.append(sum(hits) / len(hits))
    return (np.mean(curves, axis=0), np.mean(precisions)) if curves else None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equals_the_fields_own_rule(protocol):
    rng = np.random.default_rng(0)
    without_match = 0
    for _ in range(CASES):
        queries, gallery, persons = (int(n) for n in rng.integers((1, 4, 1), (6, 25, 5)))
        distances = rng.permutation(queries * gallery).reshape(queries, gallery) / 7
        people, cameras, labels = (
            [rng.integers(high, size=size) for size in (queries, gallery)] for high in (persons, 3, 3)
        )
        expected = counted(protocol, distances, *people, *cameras, *labels)
        given = {} if protocol == "standard" else {"q_clothes": labels[0], "g_clothes": labels[1]}
        if expected is None:
            without_match += 1
            with pytest.raises(UserError, match="no query has a match"):
                evaluate_rank(distances, *people, *cameras, protocol=protocol, **given)
            continue
        result = evaluate_rank(distances, *people, *cameras, protocol=protocol, max_rank=gallery, **given)
        np.testing.assert_allclose(result.cmc, expected[0], atol=1e-12)
        assert result.mAP == pytest.approx(expected[1], abs=1e-12)
    assert without_match < CASES / 3


def test_the_command_line_knows_every_protocol():
    assert set(get_args(ProtocolName)) == {*PROTOCOLS, *VIEWS}


def test_by_hand():
    """A person in red and in blue, seen by two cameras; the nearest item is another person."""
    problem = [[0.1, 0.2, 0.3, 0.4]], [1], [2, 1, 1, 1], [0], [1, 0, 1, 1]
    clothes = {"q_clothes": ["red"], "g_clothes": ["red", "blue", "red", "blue"]}
    assert evaluate_rank(*problem).mAP == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert evaluate_rank(*problem, protocol="same_clothes", **clothes).mAP == pytest.approx(1 / 2)
    changed = evaluate_rank(*problem, protocol="clothes_changing", **clothes)
    assert (changed.mAP, changed.first_rank.tolist()) == (pytest.approx(1 / 2), [2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "same_cloths"}, "unknown protocol 'same_cloths'; did you mean 'same_clothes'"),
        ({"q_clothes": None}, "protocol same_clothes compares the clothes of query and gallery; pass q_clothes"),
        ({"g_clothes": ["a"]}, r"clothes: \(1,\) and \(1,\); expected \(1,\) and \(2,\)"),
    ],
)
def test_errors(change, message):
    labels = {"protocol": "same_clothes", "q_clothes": ["a"], "g_clothes": ["a", "a"]}
    with pytest.raises(UserError, match=message):
        evaluate_rank([[0.1, 0.2]], [1], [1, 2], [0], [1, 1], **labels | change)
