"""The `almenara` command: the one place that reads the environment and puts the parts together."""

import os
import sys
from collections.abc import Sequence

from redis.exceptions import RedisError

from deploy.flags import make_parser
from shared.broker import StoppedError
from shared.errors import AlmenaraError, ConfigError, TransientError
from shared.liveness import Liveness
from shared.logs import said_last
from shared.refusals import refusal
from shared.settings import Settings

EXIT_OK = 0
EXIT_FOUND = 1
"""It ran, and found what should not be: a failed check, an unreadable picture, books out of balance."""
EXIT_USAGE = 2
"""Wrong arguments or settings."""
EXIT_AWAY = 69
"""The broker or the image store is away (EX_UNAVAILABLE)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    options = make_parser().parse_args(arguments)
    try:
        settings = Settings.from_env(os.environ)
        options.liveness = Liveness.from_env(os.environ)
        code: int = options.run(options, settings)
        sys.stdout.flush()  # here, where it is known what to do if nobody reads
    except ConfigError as error:
        return _complain(error, EXIT_USAGE)
    except StoppedError:  # a service that waited for its broker, and was told to end
        return EXIT_OK
    except TransientError as error:
        return _complain(error, EXIT_AWAY)
    except AlmenaraError as error:
        return _complain(error, EXIT_FOUND)
    except RedisError as error:
        refused = refusal(error)
        return _complain(refused or error, EXIT_USAGE if refused else EXIT_AWAY)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us has gone (`almenara console all | head`). Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - lest Python complain again at exit
        return _complain(error, EXIT_FOUND)
    return code


def _complain(error: Exception, code: int) -> int:
    if not said_last(error):
        sys.stderr.write(f"almenara: {error}\n")
    return code
