"""What a text holds that cannot be seen, made visible: control characters, terminal escapes, marks of direction."""

import re

# A terminal's sequences: CSI (colours, the cursor), OSC (titles, links), and the short ones.
_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b\\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[()*+][0-9A-Za-z]"
    "|\x1b[=>78cDEHMNOZ]"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` as it can be shown anywhere: what a terminal obeys is taken away, what nobody sees is written out.

    A line that was written again and again after a carriage return is as the terminal shows it in the end. What is
    left is shown as it is, and shown again it stays the same.
    """
    text = text.replace("\r\n", "\n")
    if "\x1b" in text or "\x9b" in text or "\x9d" in text:
        text = _ESCAPES.sub("", text)
    if "\r" in text:
        text = "\n".join(_overwritten(line) if "\r" in line else line for line in text.split("\n"))
    text = _CONTROL.sub(_picture, text)
    if text.isascii():
        return text
    return _HIDDEN.sub(_code, _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text))


def _overwritten(line: str) -> str:
    """The last state of a line: each part covers what the one before it wrote from its beginning."""
    shown = ""
    for part in line.split("\r"):
        if part:
            shown = part if len(part) >= len(shown) else part + shown[len(part) :]
    return shown


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def _code(found: re.Match[str]) -> str:
    return f"⟨U+{ord(found[0]):04X}⟩"
