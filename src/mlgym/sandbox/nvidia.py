"""What programs inside need of NVIDIA's driver: device files, parts of /sys, and the cards' names.

Written from other projects' findings and never run on a card: see docs/machine.md.
"""

from collections.abc import Iterator, Sequence

from mlgym.cards import cards, minor

COMMON = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-caps")


def options(gpus: Sequence[int]) -> Iterator[str]:
    """The options of bwrap, after --dev, that show these cards; the driver's libraries come with /usr."""
    if not gpus:
        return
    files = [f"nvidia{minor(card)}" for card in cards() if card.index in gpus]
    for name in (*files, *COMMON):
        yield from ("--dev-bind-try", f"/dev/{name}", f"/dev/{name}")
    yield from ("--ro-bind-try", "/sys", "/sys")  # without it CUDA does not start


def variables(gpus: Sequence[int]) -> dict[str, str]:
    """The variables by which CUDA finds these cards; by their names, since numbers inside may differ."""
    if not gpus:
        return {}
    names = {card.index: card.uuid for card in cards()}
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(names.get(index, str(index)) for index in gpus),
    }
