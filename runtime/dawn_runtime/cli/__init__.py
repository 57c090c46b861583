"""Command lines of the runtime, and what all commands of the toolkit share."""
