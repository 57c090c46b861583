"""INT8 ranges, threshold tuning, and the exact tasks models are measured on."""
