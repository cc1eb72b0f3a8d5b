"""Tracklets in, features out, and what is asked of them."""
