"""``deploy/verify``: proves on a Docker engine what the compose files promise."""
