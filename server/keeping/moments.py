"""Moments as an operator writes and reads them: `30d`, `12h`, or a day; always in UTC."""

import re
from datetime import UTC, datetime

from server.config import ConfigError

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

_LATEST = 253_402_300_799  # the end of the year 9999


def moment(flag: str, text: str, now: float, ahead: bool) -> float:
    """The Unix time that a flag's text means: so long from now, ahead or back, or a day's begin.

    Raises ConfigError for anything else, and for what does not lie ahead or back.
    """
    if span := re.fullmatch(rf"(\d{{1,6}})([{''.join(_UNITS_S)}])", text):
        seconds = int(span[1]) * _UNITS_S[span[2]]
        then = now + seconds if ahead else now - seconds
    else:
        try:
            day = datetime.fromisoformat(text)
        except ValueError:
            raise ConfigError(f"{flag} must look like 30d, 12h or 2027-01-31, not {text}") from None
        then = (day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp()
    if then > _LATEST:
        raise ConfigError(f"{flag} {text} lies too far ahead")
    if then == now or (then > now) is not ahead:
        raise ConfigError(f"{flag} {text} does not lie in the {'future' if ahead else 'past'}")
    return then


def shown(moment: float) -> str:
    """A Unix time, to the minute."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
