"""The errors a person or a program can meet, as one tree.

    CallsheetError
    ├── DefinitionError      a job, trigger or argument that was refused before anything was stored (also a ValueError)
    │   └── TriggerError     (callsheet.triggers) an unknown zone, an impossible cron, a naive time
    ├── Refused              the scheduler answered no; `.code` is the machine-readable reason
    │   ├── UnknownJob       no job of that name in the tenant
    │   ├── UnknownRun       no run of that number in the tenant
    │   ├── JobConflict      the job is there already, or the idempotency key came with other arguments
    │   ├── DependencyError  a cycle or an unknown upstream
    │   └── Forbidden        the key one came with does not allow it
    ├── RunError             a run ended, but not well; `.state` says how, `.error_type` and `.traceback` what was raised
    ├── DataError            a value is not data, or is larger than its limit (also a TypeError)
    ├── NotRunning           the scheduler has not been started, or has stopped
    ├── ListenError          an address cannot be listened at: taken, not allowed, not this machine's
    ├── ExtraMissing         what was asked for needs packages that are not installed (also an ImportError)
    ├── SecurityError        keys or an endpoint that are not safe to use; nothing was opened
    ├── StoreError           the store cannot be used
    │   ├── NameTaken        a process that lives uses the store under this name
    │   ├── StoreForeign     the file belongs to another program
    │   ├── StoreTooNew      a newer Callsheet wrote it
    │   ├── StoreFull        no room is left; nothing was stored
    │   ├── StoreBusy        the store did not answer in time; nothing was stored
    │   ├── StoreUnknown     a commit was cut off; whether it took effect must be read back
    │   └── Fenced           a newer epoch has written; this process must step down
    └── DecodeError          bytes that are not a message of ours; counted and dropped

`TimeoutError` of the standard library is what `result(timeout)` raises. A message says what was expected, what was found,
which job or run, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class CallsheetError(Exception):
    """The root of every error that Callsheet raises on purpose.

    `submitted`: of one that ends a `submit` or `submit_many`, for each run in order its handle if it is stored, or None. The
    `TimeoutError` of these bears it too.
    """

    submitted: Sequence[Any] = ()


class DefinitionError(CallsheetError, ValueError):
    """A job, trigger or argument is wrong in itself; nothing was stored."""


class Refused(CallsheetError):
    """The scheduler refused a request; nothing of it was done.

    `code` is one of `callsheet.actors.messages.RefusalCode`.
    """

    def __init__(self, text: str, code: str = "refused") -> None:
        super().__init__(text)
        self.code = code


class UnknownJob(Refused):
    """No job of that name is in the tenant."""


class UnknownRun(Refused):
    """No run of that number is in the tenant."""


class JobConflict(Refused):
    """The name or the idempotency key is taken by something else."""


class DependencyError(Refused, ValueError):
    """The dependencies of a job cannot be: a cycle, or an unknown upstream."""


class Forbidden(Refused):
    """The role or the tenant of the key does not allow what was asked."""


class RunError(CallsheetError):
    """A run ended in another state than `SUCCEEDED`.

    `state` is its final state, `error_type` and `traceback` are the text of what the function raised, or empty.
    """

    def __init__(self, text: str, *, state: str, error_type: str = "", traceback: str = "") -> None:
        super().__init__(text)
        self.state = state
        self.error_type = error_type
        self.traceback = traceback


class DataError(CallsheetError, TypeError):
    """A value cannot be carried as data, or is larger than its limit."""


class NotRunning(CallsheetError, RuntimeError):
    """The scheduler is not running."""


class ListenError(CallsheetError):
    """An address cannot be listened at: it is taken, not allowed, or not this machine's."""


class ExtraMissing(CallsheetError, ImportError):
    """What was asked for needs packages that are not installed; the message says which extra brings them."""


class SecurityError(CallsheetError):
    """Keys are missing, broken or open to others, or an endpoint is open to strangers; nothing was opened."""


class StoreError(CallsheetError):
    """The store cannot be used."""


class NameTaken(StoreError):
    """A process that lives uses the store under this name; each of a store's processes needs a name of its own."""


class StoreForeign(StoreError):
    """The file is not a store of Callsheet."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of Callsheet."""


class StoreFull(StoreError):
    """The store has no room left; nothing of the batch was stored."""


class StoreBusy(StoreError):
    """The store did not answer in time; nothing of the batch was stored."""


class StoreUnknown(StoreError):
    """A commit was cut off; whether it took effect must be read back (`Store.last_seq`)."""


class Fenced(StoreError):
    """A newer epoch has written; this process must step down at once."""


class DecodeError(CallsheetError):
    """Bytes that are not a message of ours."""
