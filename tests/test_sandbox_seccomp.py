"""The filter, run instruction by instruction as the kernel does, for both architectures."""

import errno
import struct

import pytest

from mlgym.sandbox.seccomp import ALLOW, ERRNO, MACHINES, program


def decide(code: bytes, audit: int, number: int, *arguments: int) -> str:
    """What the filter says about a call: `allow`, or the name of the error."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *(arguments + (0,) * 6)[:6])
    steps = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]
    at = value = 0
    while True:
        operation, yes, no, constant = steps[at]
        at += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("<I", data, constant)
        elif operation == 0x06:
            return "allow" if constant == ALLOW else errno.errorcode[constant ^ ERRNO]
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}[operation]
            at += yes if holds else no


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_allowed_and_what_is_not(name: str) -> None:
    code, machine = program(name), MACHINES[name]

    def ask(number: int, *arguments: int) -> str:
        return decide(code, machine.audit, number, *arguments)

    assert {ask(number) for number in machine.calls} == {"EPERM"}
    assert ask(435) == "ENOSYS"
    for call in (machine.socket, machine.socketpair):
        assert [ask(call, family) for family in (1, 2, 10)] == ["allow"] * 3
        assert [ask(call, family) for family in (0, 3, 17, 31, 38, 40, 44)] == ["EAFNOSUPPORT"] * 7
        assert [ask(call, 16, 3, protocol) for protocol in (0, 9, 16)] == ["allow", "EAFNOSUPPORT", "EAFNOSUPPORT"]
    assert ask(machine.clone, 0x003D0F00) == ask(machine.clone, 17) == "allow"
    assert {ask(machine.clone, 17 | 1 << bit) for bit in (17, 25, 26, 27, 28, 29, 30)} == {"EPERM"}
    assert [ask(machine.ioctl, 0, command) for command in (0x5401, 0x5412, 0x541C)] == ["allow", "EPERM", "EPERM"]
    assert [ask(machine.prlimit, pid) for pid in (0, 1, 7, 1 << 32, (1 << 32) + 1, (1 << 64) - 1)] == [
        "allow",
        *["EPERM"] * 5,
    ]
    for call in machine.scheduling:
        assert [ask(call, pid) for pid in (0, 1, 7, (1 << 32) + 1)] == ["allow", "EPERM", "allow", "EPERM"]
    assert [ask(machine.setpriority, 0, pid) for pid in (0, 1, 7)] == ["allow", "EPERM", "allow"]
    assert [ask(machine.setpriority, kind, 0) for kind in (1, 2)] == ["EPERM"] * 2
    others = set(range(450)) - {*machine.calls, 435, machine.socket, machine.socketpair}
    assert {ask(number) for number in others} == {"allow"}


@pytest.mark.parametrize("name", MACHINES)
def test_other_architectures_are_refused(name: str) -> None:
    foreign = {machine.audit for machine in MACHINES.values()} - {MACHINES[name].audit} | {0x40000003}
    assert {decide(program(name), audit, 1) for audit in foreign} == {"ENOSYS"}
    if name == "x86_64":
        assert decide(program(name), MACHINES[name].audit, 0x40000000 | 39) == "ENOSYS"


def test_unknown_machines_have_none() -> None:
    assert program("pdp11") == b""


@pytest.mark.parametrize("name", MACHINES)
def test_where_time_is_taken_children_cannot_be_ignored(name: str) -> None:
    audit, call = MACHINES[name].audit, MACHINES[name].sigaction
    asked = [
        decide(program(name, timed=timed), audit, call, signal) for timed in (True, False) for signal in (17, 16, 2)
    ]
    assert asked == ["EPERM", "allow", "allow", "allow", "allow", "allow"]


@pytest.mark.parametrize("name", MACHINES)
def test_where_processors_were_given_no_process_leaves_them(name: str) -> None:
    audit, call = MACHINES[name].audit, MACHINES[name].scheduling[2]
    asked = [decide(program(name, pinned=pinned), audit, call, pid) for pinned in (True, False) for pid in (0, 2, 77)]
    assert asked == ["EPERM"] * 3 + ["allow"] * 3
