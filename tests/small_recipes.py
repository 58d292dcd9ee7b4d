"""Settings that make of the recipe `shapes` one that two cores train in seconds, for the tests with engines."""

MODEL = (
    "model.width=32", "model.depth=3", "model.head_dim=16", "model.mixer_width=32", "model.multiple_of=16", "model.num_experts=2",
    "data.lanes=4", "training.precision=fp32", "training.log_every_steps=1", "evaluation.sampler_steps=2", "budget.limit_usd=1000",
)  # fmt: skip
QUICK = (
    *MODEL, "training.checkpoint_every_steps=4", "stages[3].ema.start_step=3",
    *(f"stages[{index}].{key}={value}" for index in range(4) for key, value in {"steps": 9, "batch_size": 8, "micro_batch_size": 4}.items()),
)  # fmt: skip
