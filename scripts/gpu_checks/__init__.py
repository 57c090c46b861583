"""What `gpu_check.py` looks at: parity, selection, speed and endurance of engines on a GPU."""
