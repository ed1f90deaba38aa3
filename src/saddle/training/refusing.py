"""What counts as refused input while a run or an evaluation is put together, and what is a fault of ours."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from saddle.game.refusals import Refused
from saddle.training.configuration import refused_by_a_resolver


@contextmanager
def refusing() -> Iterator[None]:
    """Make one kind of error of all that refuses on purpose while a run is put together.

    That is ``Refused``; what a part from elsewhere says of its numbers; arguments that a part does not have;
    a configuration that cannot be read; and files. Any other error is a fault, and keeps its traceback.
    """
    try:
        yield
    except Refused:
        raise
    except InstantiationException as error:
        cause = error.__cause__ or error
        if not _refuses(cause):
            raise
        where = re.search(r"full_key: (\S+)", str(error))
        raise Refused(f"{where[1]}: {cause}" if where else str(cause)) from error
    except OmegaConfBaseException as error:
        raise Refused(refused_by_a_resolver(error) or str(error).partition("\n")[0]) from error
    except BrokenPipeError:  # whoever reads the output has left: nothing was asked for wrongly
        raise
    except OSError as error:
        raise Refused(str(error)) from error


def _refuses(error: BaseException) -> bool:
    """Whether an error that a part was made with says what was wrong in the asking, and not in our code."""
    if isinstance(error, Refused | OSError | ImportError | HydraException | OmegaConfBaseException):
        return True
    raised = [frame.filename for frame in traceback.extract_tb(error.__traceback__)][-1:]
    within = [Path(place).is_relative_to(Path(hydra.__file__).parent) for place in raised]
    if isinstance(error, TypeError):  # the call itself: arguments that the part does not have, or lacks
        return all(within)
    ours = [Path(place).is_relative_to(Path(__file__).parents[1]) for place in raised]
    return isinstance(error, ValueError) and not any(ours)
