"""Run log: records of this package's loggers, in the log of the current flow run or task run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.exceptions import CancelledRun, FailedRun, MissingContextError
from prefect.logging import get_run_logger

from nightrain.datasets.shards.transaction import ShardReport

PACKAGE = "nightrain"
ENGINE_LOGGERS = ("prefect.engine", "prefect.flow_runs")
logger = logging.getLogger(__name__)


class RunLogHandler(logging.Handler):
    """Forwards records to the run that emits them; records of other threads to the flow run."""

    def __init__(self) -> None:
        super().__init__()
        self._flow_run = get_run_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record."""
        try:
            run = get_run_logger()
        except MissingContextError:
            run = self._flow_run
        run.log(record.levelno, record.getMessage(), exc_info=record.exc_info)


class ExpectedEnds(logging.Filter):
    """Drops the traceback of an end that a flow returned: cancelled, or failed with a sentence.

    Prefect raises these exceptions for states that a flow returns, after it has logged them. A bug
    raises its own exception, whose traceback stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is logged."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, CancelledRun | FailedRun)


_expected_ends = ExpectedEnds()


def hide_expected_ends() -> None:
    """Log the expected ends of this process's flow runs as one line each."""
    for name in ENGINE_LOGGERS:
        logging.getLogger(name).addFilter(_expected_ends)  # once: it is the same filter


@contextmanager
def logs_in_run() -> Iterator[None]:
    """Forward this package's records to the current run within the block, from INFO upwards."""
    package, handler = logging.getLogger(PACKAGE), RunLogHandler()
    if any(isinstance(other, RunLogHandler) for other in package.handlers):
        yield  # a subflow: the records of its thread are forwarded already
        return
    before = package.level, package.propagate
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False  # the run's own logger prints them
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.level, package.propagate = before


def log_shard(report: ShardReport) -> None:
    """Log the outcome of one shard: rows, rate, size, and quarantined rows by reason."""
    name = report.shard.name
    if report.status == "failed":
        logger.error("%s failed: %s", name, report.message)
    elif report.status == "stopped":
        logger.warning("%s was interrupted; its %d finished rows are kept", name, report.num_rows)
    elif report.status == "committed":
        rate = report.num_rows / report.seconds if report.seconds else 0.0
        megabytes = report.num_bytes / 1e6
        logger.info(
            "%s: committed %d rows, %.1f MB, %.1f rows/s", name, report.num_rows, megabytes, rate
        )
        for reason, count in report.quarantined.items():
            logger.warning("%s: quarantined %d rows for %s", name, count, reason)
