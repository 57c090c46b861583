"""What clients send: records whose fields say what they may be, checked and described by that."""
