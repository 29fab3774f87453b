"""Batches of photographs through the model, and dispatches out."""
