"""What the arithmetic knows of devices: peak speed, and the speed that an estimate assumes."""

from dataclasses import dataclass

ASSUMED_MFU = 0.20
"""The published run reached 19.2 %; estimates start from this until there is a measurement."""


@dataclass(frozen=True)
class Device:
    """`peak` is dense bf16 FLOP/s as the vendor states it, None where nobody does (a CPU)."""

    name: str
    peak_flops_per_second: float | None
    assumed_flops_per_second: float
    """What training is expected to reach before it was measured."""


def _gpu(name: str, peak_tflops: float) -> Device:
    return Device(name, peak_tflops * 1e12, peak_tflops * 1e12 * ASSUMED_MFU)


DEVICES = {
    device.name: device
    for device in (
        _gpu("H100", 989.5),  # NVIDIA H100 SXM data sheet, 1,979 with sparsity
        _gpu("H200", 989.5),  # NVIDIA H200 data sheet, same figure
        _gpu("A100", 312.0),  # NVIDIA A100 data sheet
        _gpu("B200", 2250.0),  # NVIDIA HGX B200 data sheet, 4,500 with sparsity
        Device("cpu", None, 60e9),  # one process of one or two cores, bf16; a round figure
    )
}


def device_named(text: str) -> Device | None:
    """The device that a driver's name means.

    >>> device_named("NVIDIA H100 80GB HBM3").name
    'H100'
    """
    return next((device for name, device in DEVICES.items() if name.lower() in text.lower()), None)
