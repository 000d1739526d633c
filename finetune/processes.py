"""The processes of one run: one, or as many as `accelerate launch` started."""

from typing import Any

from finetune.base_model import Device, best_device


class Processes:
    """Who leads, and what it tells the others."""

    def __init__(self, device: Device | None = None) -> None:
        """Meet the others, if there are any."""
        from accelerate import PartialState

        self._state: Any = PartialState(cpu=(device or best_device()) == "cpu")

    @property
    def lead(self) -> bool:
        """Whether this one builds, writes and speaks."""
        return bool(self._state.is_main_process)

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return int(self._state.num_processes) == 1

    @property
    def sharded(self) -> bool:
        """Whether the weights are to be spread over all of them (FSDP)."""
        import os

        return os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"

    def told(self, text: str) -> str:
        """Return what the leader said; `text` counts from the leader alone."""
        from accelerate.utils import broadcast_object_list

        if self.alone:
            return text
        said = [text]
        broadcast_object_list(said)
        return str(said[0])
