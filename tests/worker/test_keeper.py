"""What the keeper says of the main loop while it renews leases; what it does about them is in test_leases."""

from collections.abc import Sequence

from conftest import wait_until
from worker_parts import admit_names, take

from shared.broker import Broker
from worker.keeper import Keeper


def test_the_keeper_vouches_for_the_main_loop_only_while_a_batch_is_in_time(broker: Broker) -> None:
    """It may wait for the model, which the keeper watches; a loop that hangs by itself is not covered up."""
    admit_names(broker, 1)
    batch, vouched, renewed = take(broker, 1), list[int](), list[int]()

    def about() -> dict[str, str]:
        renewed.append(1)
        return {"state": "busy"}

    def pass_on(rounds: int, what: Sequence[int]) -> None:
        enough = len(what) + rounds
        wait_until(lambda: len(what) >= enough, within_s=60, what="the keeper goes round")

    keeper = Keeper(broker, "w1", about, lease_s=0.2, batch_timeout_s=600, in_time=lambda: vouched.append(1))
    keeper.start()
    try:
        pass_on(3, renewed)
        assert not vouched
        keeper.hold(batch)
        pass_on(2, vouched)
        keeper.judged(batch)
        pass_on(1, renewed)
        so_far = len(vouched)
        pass_on(3, renewed)
        assert len(vouched) == so_far
    finally:
        keeper.stop()
