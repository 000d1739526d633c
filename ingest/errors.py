"""Every error that is raised on purpose, in one tree.

* GroundtuneError              `except GroundtuneError` catches all of them; exit code 1
  + UsageError                 the caller can fix it: exit code 2, HTTP 400
    - ConfigError              a configuration file, key or flag is wrong
    - DataError                a line of a data file is wrong
    - NotFoundError            no such document, adapter, collection, mode: HTTP 404
    - ConflictError            somebody else holds the workspace: HTTP 409
    - TooLargeError            over a stated limit: HTTP 413
    - MissingExtraError        an optional package is not installed
    - MissingModelError        a model is not on this machine
    - MismatchError            an adapter or an index was made for another model or prompt
    - UnauthorizedError        no access key, or none that opens anything: HTTP 401
    - ForbiddenError           the key is not for this: HTTP 403
    - RateError                too many requests with one key: HTTP 429
  + DocumentError              one file could not be read; the others go on: HTTP 415
    - OverLimitError           reading it would take more time, memory or space than is allowed
  + EngineError                the language model failed: HTTP 502
    - EngineUnavailableError   it is not there, or its queue is full: HTTP 503
  + StoreError                 the index could not be read or written: HTTP 503
  + TrainingError              a training run ended early; its last checkpoint is whole
    - DivergedError            the loss is no number any more
    - OutOfMemoryError         the machine has less memory than the run needs
    - DiskFullError            a file of the run could not be written
    - StoppedError             it was asked to end: exit code 130
  + GateError                  a gate did not pass: exit code 3

A message says what we got and what we expected; `hint` is the command or the change that mends it.
"""

from typing import ClassVar


class GroundtuneError(Exception):
    """Something went wrong that we know the name of."""

    code: ClassVar[str] = "failed"
    """The machine-readable name in an HTTP error body."""
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(GroundtuneError):
    """The caller can fix this."""

    code = "bad_request"
    exit_code = 2
    http_status = 400


class ConfigError(UsageError):
    """A configuration file, key or flag is wrong."""

    code = "bad_config"


class DataError(UsageError):
    """A line of a data file is wrong."""

    code = "bad_data"


class NotFoundError(UsageError):
    """There is no document, adapter, collection or mode of that name."""

    code = "not_found"
    http_status = 404


class ConflictError(UsageError):
    """Another process holds what this one needs."""

    code = "conflict"
    http_status = 409


class TooLargeError(UsageError):
    """The input is over a stated limit."""

    code = "too_large"
    http_status = 413


class MissingExtraError(UsageError):
    """An optional package is not installed."""

    code = "missing_extra"


class MissingModelError(UsageError):
    """A model is not on this machine."""

    code = "missing_model"
    http_status = 503


class MismatchError(UsageError):
    """An adapter was trained, or an index made, for another model or prompt."""

    code = "mismatch"
    http_status = 409


class UnauthorizedError(UsageError):
    """There is no access key, or it opens nothing."""

    code = "unauthorized"
    http_status = 401


class ForbiddenError(UsageError):
    """The access key is not for this."""

    code = "forbidden"
    http_status = 403


class RateError(UsageError):
    """Too many requests came with one access key."""

    code = "rate_limited"
    http_status = 429

    def __init__(self, message: str, *, hint: str = "", retry_after_s: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DocumentError(GroundtuneError):
    """One file could not be read."""

    code = "unreadable_document"
    http_status = 415


class OverLimitError(DocumentError):
    """Reading a file would take more time, memory, pages or space than is allowed."""

    code = "document_over_limit"
    http_status = 413


class EngineError(GroundtuneError):
    """The language model failed."""

    code = "engine_failed"
    http_status = 502


class EngineUnavailableError(EngineError):
    """The language model is not there, or has no room for another request."""

    code = "engine_unavailable"
    http_status = 503


class StoreError(GroundtuneError):
    """The index could not be read or written."""

    code = "store_unavailable"
    http_status = 503


class TrainingError(GroundtuneError):
    """A training run ended before its last step; its last checkpoint is whole."""

    code = "training_failed"


class DivergedError(TrainingError):
    """The loss is no number any more."""

    code = "diverged"


class OutOfMemoryError(TrainingError):
    """The machine has less memory than the run needs."""

    code = "out_of_memory"


class DiskFullError(TrainingError):
    """A file of the run could not be written."""

    code = "disk_full"


class StoppedError(TrainingError):
    """The run was asked to end."""

    code = "stopped"
    exit_code = 130


class GateError(GroundtuneError):
    """A gate did not pass."""

    code = "gate"
    exit_code = 3
    http_status = 409
