"""Volano: the data flywheel of robot fleets, from an attempt to the next policy."""

__version__ = "0.1.0"
