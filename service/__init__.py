"""The ready-to-run service: squares, and universities by country and name."""
