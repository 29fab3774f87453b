"""What is asked of a person before a move: one of a list, or a line of text."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from shared.labels import escape_label

_CSS = """
{name} {{ align: center middle; }}
{name} > .box {{
    width: 96%; max-width: 90; height: auto; max-height: 90%; border: round $accent; padding: 0 1;
}}
{name} OptionList, {name} OptionList:focus {{
    height: auto; max-height: 16; border: none; background: transparent; padding: 0;
}}
{name} OptionList > .option-list--option-highlighted {{ text-style: reverse bold; }}
"""


class PickList(ModalScreen[str | None]):
    """One of several; its key, or None where nothing was picked."""

    DEFAULT_CSS = _CSS.format(name="PickList")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", show=False)]

    def __init__(self, title: str, choices: Sequence[tuple[str, str]]) -> None:
        """`choices` are (key, words); words are shown escaped."""
        super().__init__()
        self._title = title
        self._choices = choices

    def compose(self) -> ComposeResult:
        """A title, the list, what to press."""
        with Vertical(classes="box"):
            yield Static(Text(escape_label(self._title), style="bold"))
            # Positions are ids: keys are words of the routing file, and need not be valid ones.
            yield OptionList(
                *(
                    Option(Text(escape_label(words), no_wrap=True, overflow="ellipsis"), id=f"option-{index}")
                    for index, (_, words) in enumerate(self._choices)
                )
            )
            yield Static(Text("up, down, enter; escape: nothing", style="dim"))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter."""
        event.stop()
        self.dismiss(self._choices[event.option_index][0])


class LineInput(ModalScreen[str | None]):
    """A line of text, or None."""

    DEFAULT_CSS = _CSS.format(name="LineInput")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", show=False)]

    def __init__(self, title: str, *, most_characters: int) -> None:
        super().__init__()
        self._title = title
        self._most_characters = most_characters

    def compose(self) -> ComposeResult:
        """A title, the line, what to press."""
        with Vertical(classes="box"):
            yield Static(Text(escape_label(self._title), style="bold"))
            yield Input(max_length=self._most_characters, compact=True)
            yield Static(Text("enter: write it; escape: nothing", style="dim"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        event.stop()
        self.dismiss(event.value)


class Help(ModalScreen[None]):
    """What each key does."""

    DEFAULT_CSS = _CSS.format(name="Help")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss(None)", show=False)
    ]

    def __init__(self, keys: Sequence[tuple[str, str]], remarks: Sequence[str]) -> None:
        """`keys` are (key, what it does); `remarks` stand below."""
        super().__init__()
        self._keys = keys
        self._remarks = remarks

    def compose(self) -> ComposeResult:
        """A line each."""
        text = Text()
        for key, words in self._keys:
            text.append(f"{key:>8}  ", style="bold")
            text.append(f"{words}\n")
        for remark in self._remarks:
            text.append(f"\n{remark}")
        with VerticalScroll(classes="box"):
            yield Static(text)
