"""The desk: the one service that keeps the truth about open incidents."""
