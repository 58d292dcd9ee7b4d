"""The .npy format, as far as it is the same for every sample of a folder."""

import io

import numpy as np


def npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """What stands before the numbers, which are little-endian and in C order."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": shape})
    return file.getvalue()
