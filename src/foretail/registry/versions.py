"""Versions of models on MLflow: logged with their bundle, found by number or alias, promoted through the gate.

Aliases (never stages): ``candidate`` is the version logged last, ``champion`` the one that answers, ``challenger`` the
last one that was better than seasonal naive and yet no better than the champion.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import math
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from foretail.core.errors import PromotionRefused, RegistryError, UsageError, nearest
from foretail.core.settings import Settings
from foretail.registry.bundle import bundle_digest, read_info
from foretail.registry.entry import ModelVersion, aliases_of, all_pages, local_path, run_params, version_of
from foretail.registry.gate import Contender, Decision, decide
from foretail.registry.info import BundleInfo
from foretail.registry.trace import Trace
from foretail.registry.tracking import connect, experiment_id, is_not_found, shown, talking

__all__ = ["ALIASES", "ModelVersion", "Registry"]

logger = logging.getLogger(__name__)

ALIASES = ("champion", "challenger", "candidate")
_ARTIFACT = "bundle"
_DIGEST = "foretail.bundle_sha256"
_CHAMPIONS = "foretail.champions"  # JSON: the versions that were champion and have not been rolled back, oldest first
_HISTORY = "foretail.history"  # JSON: every promotion and rollback
_KEPT = 50  # entries of the two, of which MLflow bounds the length
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Registry:
    """Versions and aliases.

    Parameters
    ----------
    settings : ``tracking_uri`` says where; with an embedded database the bundles lie under ``home / "artifacts"``.
    """

    def __init__(self, settings: Settings):
        self.settings = settings

    @cached_property
    def _client(self) -> Any:
        return connect(self.settings)

    def log(
        self,
        bundle_folder: Path,
        name: str,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        trace: Trace | None = None,
    ) -> ModelVersion:
        """Log a bundle as the next version of a model; it becomes the candidate.

        Parameters
        ----------
        bundle_folder : what `write_bundle` wrote. name : of the registered model; made if it is not there.
        metrics, params, tags : beside those that the bundle tells by itself (scores; dataset, seed, cutoff, …).
        trace : the course of the training: its experiment, curves and files.

        Raises
        ------
        RegistryError : no bundle there, or MLflow cannot be reached; the bundle stays where it is.
        """
        folder = Path(bundle_folder).absolute()
        _check_name(name)
        info = read_info(folder)
        course = f", trace=Trace.read({str(trace.path)!r})" if trace and trace.path else ""
        call = f"Registry(Settings.load()).log({str(folder)!r}, {name!r}{course})"
        again = f"the bundle is on disk at {folder}; once the server answers, log it in Python: {call}"
        with talking(self.settings, "log the model version", again):
            run_id = self._log_run(folder, name, info, metrics or {}, params or {}, tags or {}, trace or Trace())
            self._make_model(name)
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{_ARTIFACT}"
            digest = {_DIGEST: bundle_digest(folder)}
            version = self._client.create_model_version(name, source, run_id, tags={**(tags or {}), **digest})
            self._client.set_registered_model_alias(name, "candidate", str(version.version))
        return self.show(name, int(version.version))

    def list_versions(self, name: str | None = None) -> list[ModelVersion]:
        """Every version, of one model or of all, newest first.

        Raises
        ------
        RegistryError : no model of that name.
        """
        with talking(self.settings, "list the versions"):
            models = [self._model(name)] if name else list(all_pages(self._client.search_registered_models))
            found = [
                replace(version_of(item), aliases=aliases_of(model, int(item.version)))
                for model in models
                for item in all_pages(self._client.search_model_versions, filter_string=f"name='{model.name}'")
            ]
        return sorted(found, key=lambda version: (version.name, -version.version))

    def show(self, name: str, version: int | str) -> ModelVersion:
        """One version with its metrics, params and tags.

        Parameters
        ----------
        version : number or alias.

        Raises
        ------
        RegistryError : no such model, version or alias.
        """
        item = self._find(name, version)
        with talking(self.settings, "read the version"):
            run = self._client.get_run(item.run_id)
            aliases = aliases_of(self._model(name), int(item.version))
        return replace(version_of(item), aliases=aliases, metrics=dict(run.data.metrics), params=dict(run.data.params))

    def fetch(self, name: str, version: int | str = "champion") -> Path:
        """The bundle of a version as a local folder (do not change it), checked to be the one that was logged.

        Raises
        ------
        RegistryError : no such version, or its bundle is gone or another.
        """
        item = self._find(name, version)
        local = local_path(item.source)
        folder = local if local is not None else self._download(item)
        if not folder.is_dir():
            raise RegistryError(
                f"the bundle of {name} version {item.version} is gone.\n  where: {folder}\n"
                "  fix:   restore that folder from a backup, or train the model again"
            )
        if bundle_digest(folder) != item.tags.get(_DIGEST):
            raise RegistryError(
                f"the bundle of {name} version {item.version} is not the one that was logged.\n  where: {folder}\n"
                "  fix:   restore that folder from a backup, or train the model again"
            )
        return folder

    def champion(self, name: str) -> ModelVersion | None:
        """The champion; None where there is no model or none was promoted yet."""
        with talking(self.settings, "look up the champion"):
            number = self._alias(name, "champion")
        return None if number is None else self.show(name, number)

    def judge(self, name: str, version: int | str, rescored: Contender | None = None) -> Decision:
        """What the gate says about a version, without promoting it.

        Parameters
        ----------
        rescored : the champion scored anew on the version's windows, where its own are others.
        """
        info = read_info(self.fetch(name, version))
        champion = self.champion(name)
        if champion is None:
            return decide(info.contender(f"version {version}"), None, info.naive())
        own = rescored or read_info(self.fetch(name, champion.version)).contender()
        return decide(info.contender(), replace(own, label=f"version {champion.version} ({own.model})"), info.naive())

    def promote(
        self, name: str, version: int | str, force: bool = False, rescored: Contender | None = None
    ) -> Decision:
        """Make a version the champion if the gate allows it.

        Parameters
        ----------
        force : promote whatever the gate says; recorded in the version's tags and in the history.
        rescored : see `judge`.

        Raises
        ------
        PromotionRefused : the gate said no; the message holds its table.
        RegistryError : no such version.
        """
        number = int(self._find(name, version).version)
        champion = self.champion(name)
        if champion is not None and champion.version == number:
            return Decision(True, f"version {number} is the champion already")
        decision = self.judge(name, number, rescored)
        if not decision.allowed and not force:
            self._note_challenger(name, number, decision)
            raise PromotionRefused(
                f"{name} version {number} was not promoted. {decision.to_text()}\n"
                f"  where: {shown(self.settings.tracking_uri)}\n  fix:   train a better one, or promote with --force"
            )
        before = champion.version if champion else None
        self._crown(name, number, before, forced=not decision.allowed, reason=decision.reason)
        return decision

    def rollback(self, name: str) -> ModelVersion:
        """Give the title back to the champion before this one.

        Raises
        ------
        RegistryError : there was none before, or it was deleted.
        """
        champion = self.champion(name)
        with talking(self.settings, "read the history"):
            champions = _read_list(self._model(name).tags.get(_CHAMPIONS))
        earlier = [number for number in champions if champion is None or number != champion.version]
        if not earlier:
            raise RegistryError(
                f"{name} has no earlier champion.\n  where: {shown(self.settings.tracking_uri)}\n"
                f"  fix:   `foretail models promote {name} VERSION` makes another version champion"
            )
        self._find(name, earlier[-1])
        with talking(self.settings, "roll back"):
            self._client.set_registered_model_alias(name, "champion", str(earlier[-1]))
            self._client.set_registered_model_tag(name, _CHAMPIONS, json.dumps(earlier))
            self._record(name, "rollback", earlier[-1], champion.version if champion else None, forced=False)
        return self.show(name, earlier[-1])

    def history(self, name: str) -> list[dict[str, Any]]:
        """Promotions and rollbacks, oldest first: ``at`` (UTC), ``action``, ``version``, ``before``, ``forced``."""
        with talking(self.settings, "read the history"):
            return _read_list(self._model(name).tags.get(_HISTORY))

    def _log_run(
        self,
        folder: Path,
        name: str,
        info: BundleInfo,
        metrics: Mapping[str, float],
        params: Mapping[str, object],
        tags: Mapping[str, str],
        trace: Trace,
    ) -> str:
        from mlflow.entities import Metric, Param

        run = self._client.create_run(
            experiment_id(self._client, self.settings, trace.experiment or name), run_name=info.model, tags=dict(tags)
        )
        run_id: str = run.info.run_id
        try:
            at = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
            figures = {**info.metrics, **metrics}
            texts = {**run_params(info), **params}
            self._client.log_batch(
                run_id,
                metrics=[Metric(key, value, at, 0) for key, value in figures.items() if math.isfinite(value)],
                params=[Param(key, str(value)[:500]) for key, value in texts.items()],
            )
            self._client.log_artifacts(run_id, str(folder), _ARTIFACT)
            trace.log(self._client, run_id)
        except BaseException:
            self._client.set_terminated(run_id, status="FAILED")
            raise
        self._client.set_terminated(run_id)
        return run_id

    def _make_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except Exception as error:
            if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
                raise

    def _model(self, name: str) -> Any:
        _check_name(name)
        try:
            return self._client.get_registered_model(name)
        except Exception as error:
            if not is_not_found(error):
                raise
            known = [model.name for model in all_pages(self._client.search_registered_models)]
            raise RegistryError(
                f"no model {name!r}.\n  where: {shown(self.settings.tracking_uri)}\n  fix:   {nearest(name, known)}"
            ) from error

    def _alias(self, name: str, alias: str) -> int | None:
        """The version behind an alias; None where there is no such model or alias."""
        _check_name(name)
        try:
            return int(self._client.get_model_version_by_alias(name, alias).version)
        except Exception as error:
            if not is_not_found(error):
                raise
            return None

    def _find(self, name: str, version: int | str) -> Any:
        """The MLflow entry behind a number or an alias."""
        with talking(self.settings, "look up the version"):
            model = self._model(name)
            number = model.aliases.get(str(version), version)
            try:
                return self._client.get_model_version(name, str(int(number)))
            except ValueError:
                pass
            except Exception as error:
                if not is_not_found(error):
                    raise
        known = [str(item.version) for item in self.list_versions(name)]
        raise RegistryError(
            f"{name} has no version {version!r}.\n  where: {shown(self.settings.tracking_uri)}\n"
            f"  fix:   {nearest(str(version), [*known, *model.aliases])}"
        )

    def _download(self, item: Any) -> Path:
        """Copy a remote bundle below home, once."""
        folder: Path = self.settings.home / "bundles" / item.name / f"{item.version}-{item.run_id}"
        if folder.is_dir():
            return folder
        fresh = folder.with_name(f".{folder.name}-{secrets.token_hex(6)}")
        try:
            fresh.mkdir(parents=True)
            with talking(self.settings, f"fetch {item.name} version {item.version}"):
                got = Path(self._client.download_artifacts(item.run_id, _ARTIFACT, str(fresh)))
            got.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return folder

    def _note_challenger(self, name: str, number: int, decision: Decision) -> None:
        """A version that beat seasonal naive but not the champion stays in sight."""
        if any(row.against == "seasonal naive" and row.is_better for row in decision.table):
            with talking(self.settings, "set the challenger"):
                self._client.set_registered_model_alias(name, "challenger", str(number))

    def _crown(self, name: str, number: int, before: int | None, *, forced: bool, reason: str) -> None:
        with talking(self.settings, "promote the version"):
            model = self._model(name)
            champions = [item for item in _read_list(model.tags.get(_CHAMPIONS)) if item != number]
            self._client.set_registered_model_alias(name, "champion", str(number))
            for alias in ("challenger", "candidate"):
                if model.aliases.get(alias) in (number, str(number)):
                    self._client.delete_registered_model_alias(name, alias)
            self._client.set_registered_model_tag(name, _CHAMPIONS, json.dumps([*champions, number][-_KEPT:]))
            facts = {"promoted_at": _now(), "promotion_reason": reason[:500], "promotion_forced": str(forced).lower()}
            for key, value in facts.items():
                self._client.set_model_version_tag(name, str(number), f"foretail.{key}", value)
            self._record(name, "promote", number, before, forced=forced)

    def _record(self, name: str, action: str, number: int, before: int | None, *, forced: bool) -> None:
        entry = {"at": _now(), "action": action, "version": number, "before": before, "forced": forced}
        history = [*_read_list(self._model(name).tags.get(_HISTORY)), entry]
        self._client.set_registered_model_tag(name, _HISTORY, json.dumps(history[-_KEPT:]))
        logger.info("%s %s version %d (before: %s)", action, name, number, before)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"not a name for a model: {name!r}.\n  where: the registry\n"
            "  fix:   letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 200"
        )


def _read_list(text: str | None) -> list[Any]:
    values: Sequence[Any] = json.loads(text) if text else []
    return list(values)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
