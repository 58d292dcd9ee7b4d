"""The demo's recipe: `shapes`, with more or fewer steps."""

from decimal import Decimal

from mdiff.recipe.load import load_recipe

RECIPE = "shapes"
MINUTES = 6
"""What the preset's steps are meant to take on two cores."""


def scaled_overrides(minutes: float) -> list[str]:
    """Settings that scale every stage, and the budget, by minutes / MINUTES: a fixed factor, never a measured speed."""
    if minutes == MINUTES:
        return []
    factor, recipe = minutes / MINUTES, load_recipe(RECIPE)
    overrides = [f"budget.limit_usd={recipe.budget.limit_usd * Decimal(repr(factor))}"]
    for index, stage in enumerate(recipe.stages):
        overrides += [
            f"stages[{index}].steps={max(1, round(stage.steps * factor))}",
            f"stages[{index}].learning_rate.warmup_steps={round(stage.learning_rate.warmup_steps * min(1, factor))}",
        ]
        if stage.ema:
            overrides.append(f"stages[{index}].ema.start_step={round(stage.ema.start_step * factor)}")
    return overrides
