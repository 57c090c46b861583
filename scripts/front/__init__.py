"""How rules are compared on what they cost; `scripts/decoding_front.py` is the command."""
