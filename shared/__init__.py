"""The words every part of Almenara uses. Imports nothing of ours, and never torch."""
