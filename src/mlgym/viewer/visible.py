"""What a text holds that cannot be seen, made visible: control characters, terminal escapes, marks of direction."""

import re

# A terminal's sequences: CSI (colours, the cursor), OSC (titles, links), and the short ones.
_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f\n]*(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[()*+][0-9A-Za-z]"
    "|\x1b[=>78cDEHMNOZ]"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# What has no width or turns the direction, but not what makes one sign of several: \ufe0f, and \u200d between faces.
_SIGNS, _FACES = "0-9#*\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff", "\u2600-\u27bf\U0001f000-\U0001faff"
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
    f"|(?<![{_SIGNS}])[\ufe0e\ufe0f]|(?<![{_FACES}])(?<![{_FACES}]\ufe0f)\u200d|\u200d(?![{_FACES}])"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` as it can be shown anywhere: what a terminal obeys is taken away, what nobody sees is written out.

    A line that was written again and again after a carriage return is as the terminal shows it in the end. What is
    left is shown as it is, and shown again it stays the same.
    """
    text = text.replace("\r\n", "\n")
    text = _ESCAPES.sub("", text)
    if "\r" in text:
        text = "\n".join(_overwritten(line) if "\r" in line else line for line in text.split("\n"))
    text = _CONTROL.sub(_picture, text)
    if text.isascii():
        return text
    return _HIDDEN.sub(_code, _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text))


def _overwritten(line: str) -> str:
    """The last state of a line: each part covers what the ones before it wrote from its beginning."""
    shown, width = list[str](), 0
    for part in reversed(line.split("\r")):
        if len(part) > width:
            shown.append(part[width:])
            width = len(part)
    return "".join(shown)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def _code(found: re.Match[str]) -> str:
    return f"⟨U+{ord(found[0]):04X}⟩"
