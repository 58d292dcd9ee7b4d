"""The built-in text encoder "words": frozen and deterministic, for captions of the shapes data set. Nothing is downloaded.

A caption latent is a token in its context, as a real encoder would give it, because the network itself has no positions on captions:

    channels   [ this word: C/2 | the word before: 3C/8 | position: C/8 ]       every channel is +1 or -1; padding is 0
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from mdiff.data.shapes.captions import VOCABULARY
from mdiff.errors import DataError

CANDIDATES = 64
"""Tried for each vector; the one most nearly orthogonal to those before it is kept."""


class WordsEncoder:
    """Captions -> caption latents. The empty caption is all zeros, as a dropped one is in training."""

    name = "words"

    def __init__(self, length: int = 8, width: int = 64) -> None:
        if width % 8:
            raise ValueError(f"width must be a multiple of 8, got {width}")
        self.length = length
        self.width = width
        self._words = _signs(VOCABULARY, width // 2, "this word")
        self._words_before = _signs(("", *VOCABULARY), width * 3 // 8, "word before")
        self._positions = _signs(tuple(map(str, range(length))), width // 8, "position")

    @property
    def fingerprint(self) -> str:
        """sha256 of all that the encoder knows."""
        tables = (self._words, self._words_before, self._positions)
        return hashlib.sha256(repr([list(table.items()) for table in tables]).encode()).hexdigest()

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Caption latents, (B, L, C) float16.

        Raises:
            DataError: a caption has an unknown word or too many words.
        """
        latents = np.zeros((len(captions), self.length, self.width), np.float16)
        for row, caption in zip(latents, captions, strict=True):
            words = self._split(caption)
            for position, (before, word) in enumerate(zip(["", *words], words, strict=False)):
                row[position] = (*self._words[word], *self._words_before[before], *self._positions[str(position)])
        return latents

    def _split(self, caption: str) -> list[str]:
        words = caption.lower().split()
        for word in words:
            if word not in self._words:
                raise DataError(f'"{caption}": the text encoder does not know the word "{word}"; it knows: {", ".join(VOCABULARY)}')
        if len(words) > self.length:
            raise DataError(f'"{caption}": {len(words)} words, but a caption may have {self.length}')
        return words


def _signs(names: Sequence[str], size: int, purpose: str) -> dict[str, tuple[int, ...]]:
    """A vector of `size` signs for each name, nearly orthogonal to those of the other names."""
    kept: list[np.ndarray] = []
    for name in names:
        candidates = np.stack([_hashed_signs(f"{purpose}|{name}|{number}", size) for number in range(CANDIDATES)])
        overlaps = [np.abs(candidates @ vector) for vector in kept] or [np.zeros(CANDIDATES)]
        kept.append(candidates[np.argmin(np.max(overlaps, axis=0))])
    return {name: tuple(map(int, vector)) for name, vector in zip(names, kept, strict=True)}


def _hashed_signs(text: str, size: int) -> np.ndarray:
    digest = hashlib.shake_256(text.encode()).digest(-(-size // 8))
    return np.unpackbits(np.frombuffer(digest, np.uint8))[:size].astype(np.int64) * 2 - 1
