"""Whether attention tells what depends on what; `scripts/probe_evidence.py` is the command."""
