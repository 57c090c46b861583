"""Facts about this machine; the doctor judges them."""
