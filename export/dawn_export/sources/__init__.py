"""Where a checkpoint comes from: a folder, a short name, the Hub."""
