"""What stands in an answer beside its text, and what a chat template knows of it."""
