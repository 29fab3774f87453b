"""Photographs in: watches inbox folders, checks, stores and enqueues. Never loads torch."""
