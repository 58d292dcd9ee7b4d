"""What a recipe amounts to."""

from dataclasses import dataclass

from mdiff.recipe.flops import training_flops
from mdiff.recipe.load import fingerprint
from mdiff.recipe.parameters import parameter_count
from mdiff.recipe.recipe import Recipe
from mdiff.units import count_text


@dataclass(frozen=True)
class RecipeSummary:
    name: str
    stages: int
    parameters: int
    images: int
    """Over all stages."""
    flops: int
    """Of training, all stages."""
    limit_usd: float
    fingerprint: str

    def __str__(self) -> str:
        stages = f"{self.stages} stage{'s' if self.stages > 1 else ''}"
        work = f"{count_text(self.images)} images, {self.flops:.2e} FLOPs"
        return f"{stages}, {count_text(self.parameters)} parameters, {work}, budget ${self.limit_usd:,.2f}, fingerprint {self.fingerprint}"


def summary(recipe: Recipe) -> RecipeSummary:
    return RecipeSummary(
        name=recipe.name,
        stages=len(recipe.stages),
        parameters=parameter_count(recipe.model),
        images=sum(stage.images for stage in recipe.stages),
        flops=training_flops(recipe),
        limit_usd=float(recipe.budget.limit_usd),
        fingerprint=fingerprint(recipe),
    )
