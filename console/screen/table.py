"""The list of cases: a widget that draws only the lines in sight, and whose cursor stays with its case."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from console.screen.cells import Line, drawn, header, widths


class CaseTable(ScrollView, can_focus=True):
    """One line a case, below a line of titles.

    Lines may come, go and change places; the selected case stays selected for as long as it is there. Where
    it goes, nothing is selected, so that no key means another case than the one that was looked at.
    """

    DEFAULT_CSS = """
    CaseTable { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "end(0)", show=False),
        Binding("end", "end(-1)", show=False),
    ]

    class Selected(Message):
        """Another case is selected, or none."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._lines: dict[str, Line] = {}
        self._cases: list[str] = []
        self._columns = widths([], 80)
        self._selected = ""

    @property
    def selected(self) -> str:
        """The selected case, or an empty string."""
        return self._selected

    @property
    def cases(self) -> Sequence[str]:
        """Every case in the list, from top to bottom."""
        return self._cases

    def show(self, lines: dict[str, Line]) -> None:
        """Show these lines, by case, from top to bottom."""
        moved = list(lines) != self._cases
        self._lines, self._cases = lines, list(lines)
        self._fit()
        self.virtual_size = Size(self.size.width, len(lines) + 1)
        if self._selected and self._selected not in lines:
            self.select("")
        elif moved:
            self._into_sight()
        self.refresh()

    def select(self, case: str) -> None:
        """Select a case of the list, or none."""
        if case == self._selected:
            return
        self._selected = case
        self._into_sight()
        self.refresh()
        self.post_message(self.Selected())

    def action_move(self, by: int) -> None:
        """Up or down; where nothing is selected, to the first one."""
        if not self._cases:
            return
        if self._selected not in self._lines:
            self.select(self._cases[0])
            return
        index = self._cases.index(self._selected) + by
        self.select(self._cases[max(0, min(index, len(self._cases) - 1))])

    def action_page(self, by: int) -> None:
        """A screenful up or down."""
        self.action_move(by * max(1, self.size.height - 2))

    def action_end(self, index: int) -> None:
        """To the first one (0) or the last one (-1)."""
        if self._cases:
            self.select(self._cases[index])

    def on_resize(self) -> None:
        """Other columns fit."""
        self._fit()
        self.virtual_size = Size(self.size.width, len(self._cases) + 1)
        self._into_sight()

    def render_line(self, y: int) -> Strip:
        """One line of the screen; the first one is the titles, however far the list is scrolled."""
        width, style = self.size.width, self.rich_style
        index = y - 1 + self.scroll_offset.y
        if y == 0:
            text = header(self._columns)
            text.stylize("bold underline")
        elif index < len(self._cases):
            case = self._cases[index]
            text = drawn(self._lines[case], self._columns, selected=case == self._selected)
            if case == self._selected:
                text.pad_right(max(0, width - text.cell_len))
                text.stylize("reverse")
        else:
            return Strip.blank(width, style)
        return Strip(text.render(self.app.console)).adjust_cell_length(width).apply_style(style)

    def _fit(self) -> None:
        self._columns = widths(list(self._lines.values()), max(20, self.size.width))

    def _into_sight(self) -> None:
        if self._selected in self._lines:
            index = self._cases.index(self._selected)
            # The titles hide the first line in sight, and the list begins below them.
            self.scroll_to_region(Region(0, index, 1, 2), animate=False, force=True)
