"""The originals' formulations, literal and slow, under their names; and converters for what they released."""

from legacy_ports.pcb import convert_pcb
from legacy_ports.psta import convert_psta

__all__ = ["convert_pcb", "convert_psta"]
