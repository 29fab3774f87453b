"""Dispatches as a department sees them."""
