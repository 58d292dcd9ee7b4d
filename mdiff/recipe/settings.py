"""The base of every recipe and site table: frozen, and strict about its keys and types."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """One table of a TOML file. Never changes after it was built."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, validate_default=True)


class BadSettingError(ValueError):
    """A setting that does not fit another one; `key` is relative to the table that was being checked."""

    def __init__(self, key: str, value: object, problem: str) -> None:
        super().__init__(f"{key} = {value}: {problem}")
        self.key = key
        self.value = value
        self.problem = problem
