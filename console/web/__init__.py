"""The web console: what a department sees and does in a browser."""
