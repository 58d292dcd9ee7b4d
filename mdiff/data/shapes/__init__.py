"""A generated data set of captioned shapes: every caption has a truth that can be checked from pixels."""
