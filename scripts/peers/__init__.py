"""Ours beside what else decodes the same weights; `scripts/bench_peers.py` is the command."""
