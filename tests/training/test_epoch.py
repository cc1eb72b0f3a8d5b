"""What is counted in an epoch."""

from st_reid.training.epoch import Totals


def test_means_of_an_epoch_leave_out_what_is_not_finite():
    totals = Totals(data_seconds=1.0, compute_seconds=3.0, clips=8)
    totals.add({"loss": 1.0, "grad_norm": float("inf")})
    totals.add({"loss": 2.0, "grad_norm": 4.0})
    row = totals.row()
    assert (row["loss"], row["grad_norm"], row["steps"], row["clips_per_second"]) == (1.5, 4.0, 2, 2.0)
