"""What can be wrong with a trigger, always found before the job is accepted.

TriggerError
├── CronSyntaxError        a cron expression cannot be read, or names a date that never comes
├── UnknownZoneError       no such IANA time zone on this machine
└── UnknownCalendarError   a trigger names a calendar that was not handed to the compiler
"""

from __future__ import annotations

from ..errors import DefinitionError


class TriggerError(DefinitionError):
    """A trigger, a calendar or a policy that cannot be accepted; the text says what to write instead."""


class CronSyntaxError(TriggerError):
    """A cron expression that cannot be read or can never fire."""


class UnknownZoneError(TriggerError):
    """A zone name that is not in the IANA database of this machine."""


class UnknownCalendarError(TriggerError):
    """A calendar's name that the compiler was not given."""
