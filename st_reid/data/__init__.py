"""From tracklets on disk to batches of clips."""
