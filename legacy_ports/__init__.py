"""The originals' formulations, literal and slow, under their names; and converters for what they released."""

from legacy_ports.psta import convert_psta

__all__ = ["convert_psta"]
