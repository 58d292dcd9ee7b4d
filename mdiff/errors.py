"""Every error that a user can cause. The command line prints one in one line and exits with its code."""


class MdiffError(Exception):
    """Base: says what is wrong, where, what is allowed and what to do."""

    exit_code = 1


class UsageError(MdiffError):
    """A flag or an argument that does not fit the recipe or the run."""

    exit_code = 2


class RecipeError(MdiffError):
    """A recipe or site is wrong. `key` is the dotted path that the user must edit, `where` the file and line or the flag."""

    exit_code = 2

    def __init__(self, key: str, problem: str, *, where: str = "") -> None:
        super().__init__(": ".join(part for part in (where, key, problem) if part))
        self.key = key
        self.problem = problem


class BudgetExceededError(MdiffError):
    """A job does not fit into what is left of the budget."""

    exit_code = 3


class LaunchError(MdiffError):
    """A job could not be started, found or stopped."""

    exit_code = 4


class DataError(MdiffError):
    """A data set is missing, damaged or does not fit the recipe."""

    exit_code = 5


class CheckpointError(MdiffError):
    """A checkpoint is missing, damaged or belongs to another recipe."""

    exit_code = 6
