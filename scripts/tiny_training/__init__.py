"""How the small checkpoints in models/ are made; `scripts/train_tiny.py` is the command."""
