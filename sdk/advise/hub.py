"""The shape of a model on the hub: its config.json is fetched, and nothing else. A module of its own, because
huggingface_hub takes longer to import than an answer may take."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from sdk.advise.model_config import read_shape
from sdk.errors import InvalidInput, StepFailed
from sdk.records import ModelShape


def fetch_shape(repo_id: str) -> ModelShape:
    """Fetch a model's config.json from the hub at HF_ENDPOINT and read its shape. repo_id: owner/name.

    Raises InvalidInput where HF_HUB_OFFLINE forbids asking or the name or the config.json is wrong, StepFailed where
    the hub cannot be asked.
    """
    if huggingface_hub.is_offline_mode():
        raise InvalidInput(
            f"HF_HUB_OFFLINE forbids asking the hub for {repo_id[:100]}; give the folder that holds its config.json."
        )
    try:
        path = Path(huggingface_hub.hf_hub_download(repo_id, "config.json"))
    except HFValidationError:
        raise InvalidInput(f"{repo_id[:100]!r} is no name that the hub could have; give owner/name.") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise StepFailed(
            f"The config.json of {repo_id} could not be fetched from the hub ({type(error).__name__}); check the name, "
            "the network and your access, or give a local folder."
        ) from error
    return read_shape(path).model_copy(
        update={"name": repo_id.rsplit("/", 1)[-1], "source": f"config.json of {repo_id} on the hub"}
    )
