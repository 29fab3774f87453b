"""The terminal console: pure functions turn rows of a board into text; the application fetches and paints."""
