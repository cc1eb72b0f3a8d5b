"""Models: they map clips to features."""
