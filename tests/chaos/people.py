"""People at consoles, who ask the desk for moves as consoles do, sensible and not."""

import random
import threading
from typing import Any

from redis.exceptions import RedisError

from shared.board import open_rows
from shared.broker import Broker, is_broker_fault
from shared.incidents import iso, utc_now
from shared.moves import Action, AssignmentState, Move, allowed, append, new_move_id
from shared.routing import ALL, REVIEW, Routing

ASKS = 4
"""Moves asked for at a time, at most."""


class People:
    """Look at everything that is open, and ask for something.

    Attributes:
        asked: every move that is surely in its stream, by its id.
    """

    def __init__(self, broker: Broker, routing: Routing, chance: random.Random) -> None:
        self.asked: dict[str, Move] = {}
        self._broker = broker
        self._routing = routing
        self._chance = chance
        self._unheard: list[Move] = []

    def ask_while(self, over: threading.Event, every_s: float) -> None:
        """Ask until it is over, at random intervals of about `every_s`."""
        while not over.wait(self._chance.uniform(0, 2 * every_s)):
            self.ask()

    def ask(self) -> None:
        """Ask once, if the broker is there."""
        try:
            self._ask()
        except RedisError as error:
            if not is_broker_fault(error):
                raise

    def settle(self) -> None:
        """Ask again for what was asked when the broker went away: a console shows it as not heard."""
        for move in self._unheard:
            append(self._broker, move)
            self.asked[move.move_id] = move
        self._unheard = []

    def _ask(self) -> None:
        rows = open_rows(self._broker, ALL).rows
        for row in self._chance.sample(rows, min(self._chance.randint(1, ASKS), len(rows))):
            part = self._chance.choice(row["assignments"])
            words = {"department": part["department"], "case": row["case"]}
            dice = self._chance.random()
            if part["department"] == REVIEW:
                situation = self._chance.choice([*self._routing.situations, "normal"])
                picture = self._chance.choice(row["incidents"])["id"]
                self._append(Action.DECIDE, **words, other=picture, situation=situation)
            elif dice < 0.1:
                situation = self._chance.choice([*self._routing.situations])
                self._append(Action.CORRECT, **words, situation=situation)
            elif dice < 0.2:
                self._append(Action.MERGE, **words, other=self._chance.choice(rows)["case"])
            elif dice < 0.25:
                self._append(Action.SPLIT, **words, other=self._chance.choice(row["incidents"])["id"])
            elif dice < 0.3:
                self._append(Action.NOTE, **words, note="two lanes are closed")
            else:
                actions = [*allowed(AssignmentState(part["state"])), Action.CLOSE]
                self._append(self._chance.choice(actions), **words)

    def _append(self, action: Action, **words: Any) -> None:
        by = self._chance.choice(["Ana", "Bea"])
        move = Move(move_id=new_move_id(), action=action, by=by, at=iso(utc_now()), **words)
        self._unheard = [*self._unheard, move]
        for _ in range(self._chance.choice([1, 1, 2])):
            append(self._broker, move)
        self._unheard = [each for each in self._unheard if each is not move]
        self.asked[move.move_id] = move
