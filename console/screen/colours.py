"""Colours: light ones, for a dark screen at night; they stay light without colours (NO_COLOR)."""

ALARM = "#ff8f80"
WARNING = "#ffd866"
GOOD = "#8fe388"
HEADING = "#8fd3ff"
