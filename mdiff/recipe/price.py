"""What an hour of one device costs, and who says so."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from mdiff.recipe.settings import Settings

Usd = Annotated[Decimal, Field(ge=0, strict=False)]
PositiveUsd = Annotated[Decimal, Field(gt=0, strict=False)]


class Price(Settings):
    """A billed unit is an hour of one GPU; on a machine without GPUs, of one process."""

    usd_per_gpu_hour: PositiveUsd
    source: str
    """Where the figure comes from: a contract, a price page, a flag."""
    read_on: str = Field(default="", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    """ISO date on which it was read; empty for assumed and example prices."""
    basis: Literal["site", "flag", "assumed", "example"] = "site"

    def __str__(self) -> str:
        note = {"assumed": f"assumed: {self.source}", "example": f"example price: {self.source}", "flag": self.source}
        detail = note.get(self.basis, f"{self.source}, read {self.read_on}")
        return f"${self.usd_per_gpu_hour} per {{unit}}-hour ({detail})"


PAPER_PRICE = Price(usd_per_gpu_hour=Decimal("3.75"), source="the paper's price; no site file", basis="assumed")
EXAMPLE_PRICE = Price(usd_per_gpu_hour=Decimal("0.60"), source="no bill will come", basis="example")
