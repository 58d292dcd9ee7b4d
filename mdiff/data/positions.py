"""How far each lane has come in each data set: the part of a reader that a checkpoint keeps."""

from collections.abc import Iterable, Mapping

from mdiff.errors import DataError

ReaderState = dict[str, dict[str, list[int]]]
"""JSON-able: data set name -> lane -> [epoch, offset in the lane's segment, samples taken in all]."""


def merge_states(states: Iterable[ReaderState]) -> ReaderState:
    """The state of all lanes, from those of the ranks, in lane order."""
    merged: ReaderState = {}
    for state in states:
        for name, lanes in state.items():
            merged.setdefault(name, {}).update(lanes)
    return {name: dict(sorted(lanes.items(), key=lambda item: int(item[0]))) for name, lanes in merged.items()}


class Position:
    """Of one lane in one data set."""

    def __init__(self, epoch: int = 0, offset: int = 0, taken: int = 0) -> None:
        self.epoch = epoch
        self.offset = offset
        self.taken = taken
        """Samples that went into a batch; those that were passed over do not count."""

    def advance(self, lane_length: int) -> None:
        """Go to the next sample, or to the start of the next epoch."""
        self.offset += 1
        if self.offset >= lane_length:
            self.epoch, self.offset = self.epoch + 1, 0


class Positions:
    """Of all lanes of one rank, in the data sets of this stage and of those before."""

    def __init__(self, lanes: range, names: Iterable[str], state: Mapping[str, Mapping[str, list[int]]]) -> None:
        """Data sets that `state` does not have start at 0.

        Raises:
            DataError: `state` has a data set, but not all of these lanes of it.
        """
        self._positions = {lane: {name: _position(state, name, lane) for name in dict.fromkeys([*state, *names])} for lane in lanes}

    def at(self, lane: int, name: str) -> Position:
        return self._positions[lane][name]

    def running_number(self, lane: int) -> int:
        """Samples that the lane has given, of all data sets together."""
        return sum(position.taken for position in self._positions[lane].values())

    def state(self) -> ReaderState:
        """A copy that does not change any more."""
        state: ReaderState = {}
        for lane, by_name in self._positions.items():
            for name, position in by_name.items():
                state.setdefault(name, {})[str(lane)] = [position.epoch, position.offset, position.taken]
        return state


def _position(state: Mapping[str, Mapping[str, list[int]]], name: str, lane: int) -> Position:
    if name not in state:
        return Position()
    try:
        return Position(*state[name][str(lane)])
    except KeyError as error:
        known = f"only {len(state[name])} lanes"
        raise DataError(f"{name}: the reader's state has no lane {lane}, {known}; merge the states of all ranks first") from error
