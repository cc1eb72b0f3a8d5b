"""What temporal models cost over the mean, at toy size."""

import pytest

from st_reid.errors import UserError

TINY = ("--backbone", "osnet_x0_25", "--size", 32, 16, "--frames", 4, "--rounds", 1, "--warm-up", 0)


def test_every_task_of_every_family_has_a_row(run_script, tmp_path):
    output = tmp_path / "overhead.json"
    rows = run_script("temporal_overhead", "--families", "max", "nonlocal", *TINY, output=output)["rows"]
    found = {(row["model"], row["task"]): row for row in rows}
    assert len(found) == len(rows) == 4
    for task in ("inference", "training"):
        same, more = found["max_osnet_x0_25", task], found["nonlocal_osnet_x0_25", task]
        assert (same["parameters_added"], same["flops_ratio"]) == (0, 1)
        assert more["parameters_added"] > 0
        assert more["flops_ratio"] > 1
        assert more["beyond_flops"] == pytest.approx(more["time_ratio"]["median"] / more["flops_ratio"])
    assert output.with_suffix(".md").read_text().count("nonlocal_osnet_x0_25") == 2


def test_a_family_that_does_not_exist(run_script, tmp_path):
    with pytest.raises(UserError, match="unknown model 'nonlocl_osnet_x0_25'; did you mean"):
        run_script("temporal_overhead", "--families", "nonlocl", *TINY, output=tmp_path / "o.json")
