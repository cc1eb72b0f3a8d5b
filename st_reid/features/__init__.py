"""From tracklets to features; search, calibration and grouping of features."""
