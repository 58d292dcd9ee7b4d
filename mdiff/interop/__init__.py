"""Published checkpoints and reference numbers <-> ours."""
