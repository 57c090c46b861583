"""Whether attention tells which tokens depend on each other; `scripts/probe_evidence.py` runs it."""
