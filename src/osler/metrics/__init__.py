"""Figures and their sampling error, in numpy: floors, ranking, decisions, calibration, intervals; no torch."""
