"""An artifact for others: its model card, and the way to the Hugging Face Hub."""
