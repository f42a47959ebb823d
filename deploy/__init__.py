"""How the service runs in containers."""
