"""A bounded reader of pickles that cannot run code: it knows a few opcodes and a closed table of names.

Python's own unpickler calls whatever a file names. This one is a small stack machine (the opcodes of protocols 2 to 5
as Python's `pickletools` describes them) that builds only plain values and `StoredTensor`s; a name outside the table in
`pickle_names` is an error that tells the name. Every opcode costs a part of a fixed budget, no length is believed
before the bytes are there, and the memo is a dictionary, so neither a huge length nor a huge memo index allocates
anything.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats.pickle_machine import Machine, PersistentLoad
from tinv_ext.core.formats.pickle_names import Built, Symbol, build, call, symbol
from tinv_ext.core.messages import message

MAX_OPCODES = 100_000
MAX_INTEGER_BYTES = 64


def load_pickle(
    data: memoryview, position: int, persistent_load: PersistentLoad, limit: int = MAX_OPCODES
) -> tuple[Any, int]:
    """The value of the pickle that begins at `position`, and where the next one begins. Raises FormatError.

    `limit` is the most opcodes that it may have.

    Values are str, bytes, int, float, bool, None, list, tuple, dict (keys str or int), StoredTensor, Symbol and
    Built. They may refer to themselves or to each other many times: whoever walks over them must bound the walk.
    """
    machine = Machine(data, position, persistent_load)
    try:
        return _run(machine, limit), machine.position
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError, struct.error) as error:
        raise FormatError(
            message(
                "formats.pickle_unreadable",
                "The pickle cannot be read at byte {position} ({error}). The file is damaged.",
                position=machine.position,
                error=type(error).__name__,
            )
        ) from error


def _run(machine: Machine, limit: int) -> Any:
    for _ in range(limit):
        opcode = machine.number("<B")
        if opcode == STOP:
            return machine.stack.pop()
        operation = OPERATIONS.get(opcode)
        if operation is None:
            raise FormatError(
                message(
                    "formats.pickle_opcode",
                    "The pickle has the opcode {opcode} at byte {position}, which no embedding needs. The file is "
                    "damaged or not an embedding.",
                    opcode=f"{opcode:#04x}",
                    position=machine.position - 1,
                )
            )
        operation(machine)
    raise FormatError(
        message(
            "formats.pickle_too_long",
            "The pickle has more than {limit} opcodes, too many for an embedding.",
            limit=limit,
        )
    )


def _proto(machine: Machine) -> None:
    protocol = machine.number("<B")
    if not 2 <= protocol <= 5:
        raise FormatError(
            message(
                "formats.pickle_protocol",
                "The pickle has protocol {protocol}, but torch writes 2 to 5. The file is damaged or from another "
                "program.",
                protocol=protocol,
            )
        )


def _push(read: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(read(machine))


def _long(layout: str) -> Callable[[Machine], int]:
    def read(machine: Machine) -> int:
        count = machine.number(layout)
        if count > MAX_INTEGER_BYTES:
            raise FormatError(
                message(
                    "formats.pickle_integer",
                    "The pickle has an integer of {count} bytes, which no embedding needs.",
                    count=count,
                )
            )
        return int.from_bytes(machine.take(count), "little", signed=True)

    return read


def _bytes(layout: str) -> Callable[[Machine], bytes]:
    return lambda machine: bytes(machine.take(machine.number(layout)))


def _old_text(layout: str) -> Callable[[Machine], str]:
    return lambda machine: str(machine.take(machine.number(layout)), "latin-1")


def _tuple(count: int) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        if len(machine.stack) < count:
            raise IndexError
        start = len(machine.stack) - count
        machine.stack[start:] = [tuple(machine.stack[start:])]

    return operation


def _mark(machine: Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _tuple_to_mark(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.stack.append(tuple(values))


def _list_to_mark(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.stack.append(values)


def _dict_to_mark(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.stack.append({})
    _set_items(machine.stack[-1], values)


def _append(machine: Machine) -> None:
    value = machine.stack.pop()
    _list_on_top(machine).append(value)


def _appends(machine: Machine) -> None:
    values = machine.pop_mark()
    _list_on_top(machine).extend(values)


def _list_on_top(machine: Machine) -> list[Any]:
    target = machine.stack[-1]
    if not isinstance(target, list):
        raise TypeError
    return target


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _set_items(machine.stack[-1], [key, value])


def _set_items_to_mark(machine: Machine) -> None:
    values = machine.pop_mark()
    _set_items(machine.stack[-1], values)


def _set_items(target: object, values: list[Any]) -> None:
    if not isinstance(target, dict) or len(values) % 2:
        raise TypeError
    for key, value in zip(values[::2], values[1::2]):
        if not isinstance(key, (str, int)):
            raise FormatError(
                message(
                    "formats.pickle_key",
                    "The pickle has a dictionary with a key of type {type}; only text and numbers can be read.",
                    type=type(key).__name__,
                )
            )
        target[key] = value


def _global(machine: Machine) -> Symbol:
    return symbol(machine.line(), machine.line())


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not (isinstance(name, str) and isinstance(module, str)):
        raise TypeError
    machine.stack.append(symbol(module, name))


def _reduce(machine: Machine) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.charge(arguments)
    machine.stack.append(call(function, arguments))


def _new_object(machine: Machine) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    if not isinstance(function, Symbol) or arguments != ():
        raise TypeError
    machine.stack.append(Built(function.name))


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    machine.charge(state)
    machine.stack[-1] = build(machine.stack[-1], state)


def _persistent(machine: Machine) -> None:
    machine.stack.append(machine.persistent_load(machine.stack.pop()))


def _put(layout: str) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        machine.memo[machine.number(layout)] = machine.stack[-1]

    return operation


def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


STOP = ord(".")
OPERATIONS: dict[int, Callable[[Machine], None]] = {
    0x80: _proto,
    0x95: lambda machine: (machine.number("<Q"), None)[1],  # FRAME: only a hint about buffering
    ord("N"): _push(lambda machine: None),
    0x88: _push(lambda machine: True),
    0x89: _push(lambda machine: False),
    ord("J"): _push(lambda machine: machine.number("<i")),
    ord("K"): _push(lambda machine: machine.number("<B")),
    ord("M"): _push(lambda machine: machine.number("<H")),
    0x8A: _push(_long("<B")),
    0x8B: _push(_long("<I")),
    ord("G"): _push(lambda machine: float(struct.unpack(">d", machine.take(8))[0])),
    ord("X"): _push(lambda machine: machine.text("<I")),
    0x8C: _push(lambda machine: machine.text("<B")),
    0x8D: _push(lambda machine: machine.text("<Q")),
    ord("T"): _push(_old_text("<I")),
    ord("U"): _push(_old_text("<B")),
    ord("B"): _push(_bytes("<I")),
    ord("C"): _push(_bytes("<B")),
    0x8E: _push(_bytes("<Q")),
    ord("]"): _push(lambda machine: []),
    ord("}"): _push(lambda machine: {}),
    ord(")"): _push(lambda machine: ()),
    ord("("): _mark,
    ord("t"): _tuple_to_mark,
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("l"): _list_to_mark,
    ord("d"): _dict_to_mark,
    ord("a"): _append,
    ord("e"): _appends,
    ord("s"): _set_item,
    ord("u"): _set_items_to_mark,
    ord("c"): _push(_global),
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _new_object,
    ord("b"): _build,
    ord("Q"): _persistent,
    ord("q"): _put("<B"),
    ord("r"): _put("<I"),
    0x94: _memoize,
    ord("h"): _push(lambda machine: machine.memo[machine.number("<B")]),
    ord("j"): _push(lambda machine: machine.memo[machine.number("<I")]),
}
