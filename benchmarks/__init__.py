"""Measurements, side by side with a peer in one run. `make bench` runs all of them."""
