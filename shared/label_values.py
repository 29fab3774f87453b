"""The words that counters are labelled with, where they are a known few.

A counter that is not there before its first event has no increase with it, so each is made at 0 beforehand.
"""

from collections.abc import Mapping, Sequence

REJECTIONS = (
    "ambiguous",
    "bad_coordinates",
    "corrupt",
    "empty",
    "internal_error",
    "kills_decoder",
    "no_coordinates",
    "not_a_file",
    "not_a_number",
    "not_an_image",
    "not_readable",
    "not_taken",
    "out_of_range",
    "slow",
    "too_large_bytes",
    "too_many_pixels",
    "truncated",
    "undecodable",
)
"""Why a file is rejected."""

VALUES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "almenara_ingest_files": (
        *((outcome, "") for outcome in ("admitted", "seen", "already")),
        *(("rejected", reason) for reason in REJECTIONS),
    ),
    "almenara_worker_jobs": (("published",), ("superseded",), ("settled",), ("released",), ("exhausted",)),
    "almenara_worker_model_swaps": (("swapped",), ("refused",)),
    "almenara_desk_entries": (("incident",), ("move",)),
    "almenara_desk_moves": (
        ("applied",),
        ("bad_move",),
        ("not_yours",),
        ("stale",),
        ("taken",),
        ("unknown_case",),
        ("unknown_word",),
    ),
    "almenara_desk_clock_actions": (("repeated",), ("fell_back",), ("expired",), ("unverified",)),
    "almenara_web_requests": (("other", "500"),),
    "almenara_web_logins": (("accepted",), ("refused",), ("limited",)),
    "almenara_web_picture_views": (("picture",), ("activation",)),
}
"""Counter -> the values of its labels, in their order."""
