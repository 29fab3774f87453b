"""Labelled folders in, checkpoints out."""
