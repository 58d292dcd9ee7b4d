"""How amounts are written for people: counts, dollars, durations."""

from datetime import UTC, datetime
from decimal import Decimal

SECONDS_PER_HOUR = 3600


def usd_text(usd: Decimal, digits: int = 2) -> str:
    """
    >>> usd_text(Decimal("1733.75"))
    '$1,733.75'
    >>> usd_text(Decimal("0.0034"))
    '$0.0034'
    """
    if 0 < abs(usd) < Decimal("0.01"):
        return f"${usd:.4f}"
    return f"${usd:,.{digits}f}"


def count_text(count: int) -> str:
    """
    >>> count_text(512_000_000), count_text(61_440), count_text(12)
    ('512.0 M', '61.4 k', '12')
    """
    for least, size, letter in ((10**9, 10**9, "G"), (10**6, 10**6, "M"), (10**4, 10**3, "k")):
        if count >= least:
            return f"{count / size:,.1f} {letter}"
    return f"{count:,}"


def duration_text(seconds: float) -> str:
    """
    >>> duration_text(33_780), duration_text(312), duration_text(9)
    ('9 h 23 min', '5 min 12 s', '9 s')
    """
    whole = round(seconds)
    hours, rest = divmod(whole, SECONDS_PER_HOUR)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {secs} s" if minutes else f"{secs} s"


def utc_now() -> datetime:
    return datetime.now(UTC)


def utc_stamp(moment: datetime) -> str:
    """A UTC time that sorts and may stand in a file name: 20261124T170211.123456Z."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
