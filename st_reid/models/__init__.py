"""Clips in, features out."""
