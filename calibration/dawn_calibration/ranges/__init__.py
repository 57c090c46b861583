"""Activation ranges and smoothing, from the states that decoding goes through."""
