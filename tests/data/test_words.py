import numpy as np
import pytest

from mdiff.data.shapes.captions import VOCABULARY
from mdiff.data.words import WordsEncoder
from mdiff.errors import DataError

# Checkpoints were trained with these vectors: whoever changes them must give the encoder another name.
FINGERPRINT = "b395cec37321822e44e5953863714b7e1311a5aa13a391814985c55be7044976"


def test_encoder_is_the_one_that_it_always_was():
    assert WordsEncoder().fingerprint == FINGERPRINT


def test_caption_latents_have_unit_variance_on_words_and_zeros_on_padding():
    (latents,) = WordsEncoder().encode(["a red circle"])
    assert latents.shape == (8, 64)
    assert latents.dtype == np.float16
    assert np.all(np.abs(latents[:3]) == 1)
    assert not latents[3:].any()


def test_empty_caption_is_all_zeros():
    assert not WordsEncoder().encode([""]).any()


def test_vectors_of_different_words_are_nearly_orthogonal():
    first_tokens = WordsEncoder().encode(VOCABULARY)[:, 0, :32].astype(np.float32)
    cosines = np.abs(first_tokens @ first_tokens.T) / 32
    assert np.max(cosines - np.eye(len(VOCABULARY))) <= 0.25


def test_token_tells_its_position_and_the_word_before_it():
    encoder = WordsEncoder()
    (one,) = encoder.encode(["a red circle and a blue circle"])
    assert np.array_equal(one[2, :32], one[6, :32])
    assert not np.array_equal(one[2, 32:56], one[6, 32:56])
    assert not np.array_equal(one[2, 56:], one[6, 56:])


def test_unknown_word_is_named_with_the_vocabulary():
    with pytest.raises(DataError, match=r'does not know the word "hexagon"; it knows: a, and, .*circle'):
        WordsEncoder().encode(["a red hexagon"])


def test_too_long_caption_is_refused():
    with pytest.raises(DataError, match="9 words, but a caption may have 8"):
        WordsEncoder().encode(["a a a a a a a a a"])
