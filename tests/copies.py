"""Copies of folders that took long to make."""

import shutil
import sqlite3
from pathlib import Path

from mlflow.tracking._tracking_service import utils


def copy_with_mlflow(folder: Path, copy: Path) -> None:
    """The database goes along, and notes where its artifacts lie now. `copy` may be there already."""
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    old, new = str(folder.resolve()), str(copy.resolve())
    with sqlite3.connect(copy / "mlflow.db") as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
        database.execute("UPDATE model_versions SET storage_location = replace(storage_location, ?, ?)", (old, new))
    database.close()
    utils._artifact_repos_cache.clear()  # by run id, which copies share
