"""Quantised weights: which scheme a target has, how numbers become integers, calibration files."""
