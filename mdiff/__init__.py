"""Train a text-to-image diffusion transformer from scratch, on a dollar budget, on the cluster you already have."""
