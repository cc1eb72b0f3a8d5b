"""What a run learns from, and what it is chosen by."""

import pytest

from st_reid.data.tracklet import Tracklet
from st_reid.errors import UserError
from st_reid.training.splits import split_validation


def test_validation_identities_are_disjoint_and_seen_by_two_cameras():
    tracklets = [Tracklet(f"{p}-{c}", ("x",), f"{p:02d}", str(c)) for p in range(40) for c in range(1 if p < 10 else 3)]
    learned, held_out = split_validation(tracklets, None, seed=3)
    persons = {t.person for t in held_out}
    assert len(persons) == 4
    assert not persons & {t.person for t in learned}
    assert all(int(p) >= 10 for p in persons)
    assert sorted(t.name for t in learned + held_out) == sorted(t.name for t in tracklets)
    assert split_validation(tracklets, None, seed=3)[1] == held_out
    assert split_validation(tracklets, 0, seed=3)[1] == []
    assert split_validation([t for t in tracklets if t.camera == "0"], None, seed=3)[1] == []
    with pytest.raises(UserError, match=r"val_identities is 31; .* the 30"):
        split_validation(tracklets, 31, seed=3)
