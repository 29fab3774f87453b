"""Faults in a seeded order against real services and a real broker: `make chaos`."""
