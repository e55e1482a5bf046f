"""What every verb needs from the command line: settings, logging, progress."""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foretail.cli.logs import configure_logging
from foretail.core.settings import Settings

if TYPE_CHECKING:
    from foretail.core.progress import Progress

__all__ = ["Door"]


@dataclass(frozen=True)
class Door:
    """One call of the command line.

    Attributes
    ----------
    verbose, debug : the options of `foretail` itself.
    run_id : names this call on every line of the log.
    """

    verbose: bool = False
    debug: bool = False
    run_id: str = field(default_factory=lambda: secrets.token_hex(6))

    def settings(self, home: Path | None = None, data: Path | None = None, workers: int | None = None) -> Settings:
        """Read the settings (file, environment, then these flags) and set up the log as they say."""
        settings = Settings.load(home=home, data=data, workers=workers)
        configure_logging(self.run_id, verbose=self.verbose, log_format=settings.log_format)
        return settings

    def progress(self) -> AbstractContextManager[Progress]:
        """Bars on a terminal; lines when verbose; else nothing."""
        from foretail.cli.progress import open_progress

        return open_progress(verbose=self.verbose)
