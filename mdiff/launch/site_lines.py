"""Lines of a site file."""

from collections.abc import Mapping
from typing import Any

import tomli_w


def setting(name: str, value: Any) -> str:
    """
    >>> setting("partition", "h100")
    'partition = "h100"'
    """
    return tomli_w.dumps({name: value}).strip()


def inline(values: Mapping[str, Any]) -> str:
    """A table on one line; keys with dots in them are quoted.

    >>> inline({"rdma/ib": "8", "n": 1})
    '{ "rdma/ib" = "8", n = 1 }'
    """
    return f"{{ {', '.join(setting(name, value) for name, value in values.items())} }}"
