"""The one function that jobs name: it lets RQ's tools read a job, and only our worker can run it."""

from shared.errors import PermanentError


def classify(incident_id: str) -> None:
    """Say which situation a stored photograph shows.

    Raises:
        PermanentError: always. A batch worker takes many of these jobs at once and never calls the function;
            this is what a stock `rq worker` on our queue gets.
    """
    raise PermanentError(
        f"incident {incident_id} was given to a plain RQ worker, which has no model",
        reason="wrong_worker",
        remedy="stop that worker and run `almenara worker`; `almenara audit --repair` puts its jobs back",
    )
